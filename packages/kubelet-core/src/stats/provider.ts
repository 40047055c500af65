// What the node and its pods use: for eviction, for `/stats/summary`, and for the pages of metrics.
import type { ImageService, RuntimeService } from '@nodelet/cri-api'
import type { Cgroups } from '@nodelet/linux'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { NodeUsage, PodUsage } from '../eviction/usage.ts'
import type { MeteredVolume } from '../storage/meter.ts'
import { createImageFolder } from './image-folder.ts'
import { nodeJson } from './node-summary.ts'
import { readNodeUsage } from './node-usage.ts'
import { createPodDisks } from './pod-disk.ts'
import { type PodStats, readPodStats } from './pod-stats.ts'
import { podJson } from './pod-summary.ts'
import { podUsageOf } from './pod-usage.ts'
import { createCpuRates } from './rates.ts'
import type { Summary } from './summary-types.ts'

export interface StatsOptions {
  nodeName: string
  runtime: Pick<RuntimeService, 'listPodSandboxStats'>
  imageService: Pick<ImageService, 'imageFsInfo'>
  cgroups: Pick<Cgroups, 'stats' | 'exists'>
  /** Of all pods, for instance `/kubepods`, and how much memory they may use. */
  podsCgroup: string
  podsMemoryBytes: bigint
  rootDir: string
  podLogsDir: string
  /** KubeletConfiguration `volumeStatsAggPeriod`: how old sizes of volumes may be. */
  volumeStatsMs: number
  /** Told how long it took to measure a volume. */
  measuredVolume?(seconds: number): void
  /** Those of a pod that tell of themselves, as last measured. */
  volumes(podUid: string): readonly MeteredVolume[]
  /** Of this node, with their status. */
  pods(): readonly Pod[]
  clock: Clock
}

export interface StatsProvider {
  nodeUsage(signal: AbortSignal): Promise<NodeUsage>
  /** By UID, measured now. */
  podUsage(signal: AbortSignal): Promise<Map<string, PodUsage>>
  /** By UID. */
  podStats(signal: AbortSignal): Promise<Map<string, PodStats>>
  /** @param brief cpu and memory alone */
  summary(brief: boolean, signal: AbortSignal): Promise<Summary>
}

export function createStatsProvider(options: StatsOptions): StatsProvider {
  const { nodeName, runtime, cgroups, podsCgroup, podsMemoryBytes, rootDir, volumes, pods, clock } = options
  const disks = createPodDisks(options, clock)
  const rates = createCpuRates()
  const imageFolder = createImageFolder(options.imageService)
  const startedMs = clock.now()
  const nodeUsage = async (signal: AbortSignal): Promise<NodeUsage> => {
    const ofPods = async () => ((await cgroups.exists(podsCgroup)) ? cgroups.stats(podsCgroup) : {})
    const shared = { stats: ofPods, memoryBytes: podsMemoryBytes }
    return readNodeUsage({ rootDir, imageFolder, pods: shared, now: () => clock.now() }, signal)
  }
  const podStats = async (maxAgeMs: number, signal: AbortSignal): Promise<Map<string, PodStats>> =>
    readPodStats({ runtime, disks, volumes, pods }, maxAgeMs, signal)
  return {
    nodeUsage,
    async podUsage(signal) {
      return new Map([...(await podStats(0, signal))].map(([uid, stats]) => [uid, podUsageOf(stats)]))
    },
    podStats: async (signal) => podStats(options.volumeStatsMs, signal),
    async summary(brief, signal) {
      const [usage, all] = await Promise.all([nodeUsage(signal), podStats(options.volumeStatsMs, signal)])
      const node = await nodeJson({ nodeName, cgroups, podsCgroup, rates, startedMs }, usage, brief)
      const disksOf = { nodefs: usage.nodefs, imagefs: usage.imagefs ?? usage.nodefs }
      // What has ended uses nothing.
      const live = [...all.values()].filter(({ sandboxes }) => sandboxes.length > 0)
      const summary = { node, pods: live.map((one) => podJson(one, disksOf, rates, brief)) }
      rates.sweep()
      return summary
    },
  }
}
