// What keeps a node in shape and knows what it uses: rotation of logs, removal of images, eviction, measurements.
import type { ImageService, RuntimeService } from '@nodelet/cri-api'
import type { Cgroups } from '@nodelet/linux'
import type { Clock } from '../clock.ts'
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { featuresOf } from '../configuration/features.ts'
import { createLogRotator } from '../container-log/rotator.ts'
import { parseDuration } from '../duration.ts'
import type { EventRecorder } from '../events.ts'
import { createEvictionManager, type EvictionManager } from '../eviction/manager.ts'
import { createMemoryAlarm } from '../eviction/memory-alarm.ts'
import { createImageCollector } from '../image-gc/collector.ts'
import type { Logger } from '../log.ts'
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts'
import { createMetricsPages, type MetricsPages, type MetricsPagesOptions } from '../metrics/pages.ts'
import type { CountFacts } from '../metrics/pod-counts.ts'
import type { MachineFacts } from '../node/facts.ts'
import type { PodManager } from '../pod/manager.ts'
import type { RuntimeReader } from '../pod/runtime-read.ts'
import { canonicalReference } from '../pod/image-reference.ts'
import { reservedOf } from '../resource/reserved.ts'
import { imageVolumes } from '../volume/image-volume.ts'
import type { HealthCheck } from '../server/health.ts'
import type { VolumeMeter } from '../storage/meter.ts'
import { createStatsProvider, type StatsProvider } from '../stats/provider.ts'

export interface UpkeepOptions {
  nodeName: string
  rootDir: string
  configuration: KubeletConfiguration
  machine: MachineFacts
  /** Of this kubelet, for instance `v1.36.0`. */
  version: string
  runtimeService: RuntimeService
  imageService: ImageService
  manager: PodManager
  reader: RuntimeReader
  cgroups: Pick<Cgroups, 'version' | 'stats' | 'exists' | 'onMemoryUsage'>
  /** That of all pods. */
  podsCgroup: string
  counts: CountFacts
  /** How full volumes are that tell it. */
  meter: Pick<VolumeMeter, 'of' | 'all'>
  /** These images were there then. */
  imagesSeen(ids: ReadonlySet<string>, thenMs: number): Promise<void>
  health(): readonly HealthCheck[]
  expires: MetricsPagesOptions['expires']
  /** The conditions of the node are others now. */
  pressureChanged(): void
  events: EventRecorder
  metrics: KubeletMetrics
  clock: Clock
  log: Logger
}

export interface Upkeep {
  stats: StatsProvider
  eviction: EvictionManager
  pages: MetricsPages
  /** Begins all but eviction, which waits until it is known which pods are wanted. */
  start(): void
  close(): Promise<void>
}

/** As it is written, and in full; one that is no reference has no image. */
function namesOf(reference: string): string[] {
  try {
    return [reference, canonicalReference(reference)]
  } catch {
    return []
  }
}

export function createUpkeep(options: UpkeepOptions): Upkeep {
  const { nodeName, rootDir, configuration, machine, version, runtimeService, imageService } = options
  const { manager, reader, cgroups, pressureChanged, events, metrics, clock, log } = options
  const { podLogsDir } = configuration
  const logRotator = createLogRotator({
    runtime: runtimeService,
    *running() {
      for (const uid of manager.uids()) {
        for (const container of reader.last(uid)?.containers ?? []) {
          if (container.phase === 'running') yield container
        }
      }
    },
    configuration,
    clock,
    log,
  })
  const imageCollector = createImageCollector({
    runtime: runtimeService,
    imageService,
    usedByVolumes: () =>
      manager.pods().flatMap((pod) => imageVolumes(pod).flatMap(({ reference }) => namesOf(reference))),
    removed: (reason) => metrics.collectedImages.inc({ reason }),
    seen: options.imagesSeen,
    configuration,
    events,
    clock,
    log,
  })
  const podsMemoryBytes = machine.memoryBytes - reservedOf(configuration, 'memory') / 1000n
  const stats = createStatsProvider({
    nodeName,
    runtime: runtimeService,
    imageService,
    cgroups: cgroups,
    podsCgroup: options.podsCgroup,
    podsMemoryBytes,
    rootDir,
    podLogsDir,
    volumeStatsMs: parseDuration(configuration.volumeStatsAggPeriod),
    measuredVolume: (seconds) => metrics.volumeStatsSeconds.observe({ metric_source: 'du' }, seconds),
    volumes: (podUid) => options.meter.of(podUid),
    pods: () => manager.pods(),
    clock,
  })
  const eviction = createEvictionManager({
    alarm: configuration.kernelMemcgNotification
      ? createMemoryAlarm({
          cgroups,
          measured: {
            'memory.available': { path: '/', capacityBytes: machine.memoryBytes },
            'allocatableMemory.available': { path: options.podsCgroup, capacityBytes: podsMemoryBytes },
          },
          log,
        })
      : undefined,
    configuration,
    nodeUsage: async (signal) => stats.nodeUsage(signal),
    podUsage: async (signal) => stats.podUsage(signal),
    pods: () => manager.syncing(),
    evict: async ({ metadata }, failure, graceSeconds) => manager.evict(metadata?.uid ?? '', failure, graceSeconds),
    async reclaimDisk(signal) {
      await manager.removeDead()
      await imageCollector.removeUnused(signal)
    },
    pressureChanged,
    evicted({ signal }, measuredMs) {
      metrics.evictions.inc({ eviction_signal: signal })
      metrics.evictionStatsSeconds.observe({ eviction_signal: signal }, (clock.now() - measuredMs) / 1000)
    },
    events,
    clock,
    log,
  })
  const pages = createMetricsPages({
    metrics,
    stats,
    runtime: runtimeService,
    machine,
    nodeName,
    version,
    features: featuresOf(configuration),
    cgroupVersion: cgroups.version,
    counts: options.counts,
    volumes: () => options.meter.all(),
    health: options.health,
    expires: options.expires,
    log,
    pods: () => manager.workers().map((one) => ({ ...one, runtime: reader.last(one.pod.metadata?.uid ?? '') })),
  })
  return {
    stats,
    eviction,
    pages,
    start() {
      logRotator.now()
      imageCollector.start()
    },
    async close() {
      pages.close()
      await Promise.all([logRotator.close(), imageCollector.close(), eviction.close()])
    },
  }
}
