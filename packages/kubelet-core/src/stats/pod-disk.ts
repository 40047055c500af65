// What pods take on the node's disks: logs and volumes. Measured by walking, so remembered for a while.
import { join } from 'node:path'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { DiskUsage } from '../eviction/usage.ts'
import { podLogFolder } from '../pod/sandbox-config.ts'
import { podFolders } from '../volume/folders.ts'
import { type DiskUsed, diskUsed } from './disk-usage.ts'
import { readDisk } from './filesystem.ts'

export interface VolumeUsed extends DiskUsed {
  /** Not in memory. */
  onDisk: boolean
  filesystem: DiskUsage
}

export interface PodDisk {
  timeMs: number
  /** By container name. */
  logs: ReadonlyMap<string, DiskUsed>
  /** Volumes that the node itself keeps, by name. */
  volumes: ReadonlyMap<string, VolumeUsed>
}

export interface PodDisks {
  /** @param maxAgeMs how old the answer may be */
  measure(pod: Pod, maxAgeMs: number, signal: AbortSignal): Promise<PodDisk>
  /** Forgets all others. */
  keep(podUids: ReadonlySet<string>): void
}

export interface PodDisksOptions {
  rootDir: string
  podLogsDir: string
  /** Told how long it took to measure a volume. */
  measuredVolume?(seconds: number): void
}

export function createPodDisks(folders: PodDisksOptions, clock: Pick<Clock, 'now'>): PodDisks {
  const known = new Map<string, PodDisk>()
  return {
    async measure(pod, maxAgeMs, signal) {
      const uid = pod.metadata?.uid ?? ''
      const before = known.get(uid)
      if (before && clock.now() - before.timeMs <= maxAgeMs) return before
      const timeMs = clock.now()
      const disk = { timeMs, logs: await logsOf(pod, folders, signal), volumes: await volumesOf(pod, folders, signal) }
      known.set(uid, disk)
      return disk
    },
    keep(podUids) {
      for (const uid of known.keys()) if (!podUids.has(uid)) known.delete(uid)
    },
  }
}

async function logsOf(pod: Pod, { podLogsDir }: PodDisksOptions, signal: AbortSignal): Promise<Map<string, DiskUsed>> {
  const { initContainers = [], containers = [], ephemeralContainers = [] } = pod.spec ?? {}
  const logs = new Map<string, DiskUsed>()
  for (const { name } of [...initContainers, ...containers, ...ephemeralContainers]) {
    logs.set(name, await diskUsed(join(podLogFolder(pod, podLogsDir), name), signal))
  }
  return logs
}

/** Volume source → folder of its kind, and whether it is in memory. */
const kinds = [
  { source: 'emptyDir', folder: 'empty-dir', inMemory: false },
  { source: 'configMap', folder: 'configmap', inMemory: false },
  { source: 'secret', folder: 'secret', inMemory: true },
  { source: 'projected', folder: 'projected', inMemory: true },
  { source: 'downwardAPI', folder: 'downward-api', inMemory: true },
] as const

async function volumesOf(
  pod: Pod,
  { rootDir, measuredVolume }: PodDisksOptions,
  signal: AbortSignal,
): Promise<Map<string, VolumeUsed>> {
  const { volumes: folder } = podFolders(rootDir, pod.metadata?.uid ?? '')
  const found = new Map<string, VolumeUsed>()
  for (const volume of pod.spec?.volumes ?? []) {
    const kind = kinds.find(({ source }) => volume[source])
    if (!kind) continue
    const path = join(folder, `kubernetes.io~${kind.folder}`, volume.name)
    const beganMs = performance.now()
    const used = await diskUsed(path, signal)
    measuredVolume?.((performance.now() - beganMs) / 1000)
    if (used.inodes === 0n) continue // not mounted yet
    const onDisk = !kind.inMemory && !volume.emptyDir?.medium
    found.set(volume.name, { ...used, onDisk, filesystem: await readDisk(path) })
  }
  return found
}
