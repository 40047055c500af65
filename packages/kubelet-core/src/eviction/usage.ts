// What is measured of a node and its pods, as eviction needs it. Plain data; sizes in bytes.
import type { Signal } from './thresholds.ts'

export interface DiskUsage {
  availableBytes: bigint
  capacityBytes: bigint
  inodesFree: bigint
  inodes: bigint
}

export interface NodeUsage {
  /** When it was measured, in milliseconds since the epoch. */
  timeMs: number
  memory: { availableBytes: bigint; capacityBytes: bigint }
  /** Of all pods together, against what they may use; undefined without a cgroup of theirs. */
  podsMemory?: { availableBytes: bigint; capacityBytes: bigint } | undefined
  /** The file system of the kubelet's root folder. */
  nodefs: DiskUsage
  /** The file system of images, where it is another one. */
  imagefs?: DiskUsage | undefined
  pids?: { max: bigint; running: bigint } | undefined
}

/** Bytes or inodes, by what they are on. */
export interface StorageUsage {
  bytes: bigint
  inodes: bigint
}

export interface ContainerUsage {
  memoryBytes: bigint
  rootfs: StorageUsage
  logs: StorageUsage
}

/** In memory, it counts against its own limit only. */
export interface VolumeUsage extends StorageUsage {
  onDisk: boolean
}

export interface PodUsage {
  memoryBytes: bigint
  processes: bigint
  /** By container name. */
  containers: ReadonlyMap<string, ContainerUsage>
  /** Volumes that the node itself keeps, by name. */
  volumes: ReadonlyMap<string, VolumeUsage>
}

/** How much is left of what a signal measures. */
export interface Observation {
  available: bigint
  capacity: bigint
  timeMs: number
}

export type Observations = ReadonlyMap<Signal, Observation>

export function observationsOf(usage: NodeUsage): Observations {
  const { timeMs, memory, podsMemory, nodefs, imagefs = nodefs, pids } = usage
  const bytes = ({ availableBytes: available, capacityBytes: capacity }: NodeUsage['memory']): Observation => ({
    available,
    capacity,
    timeMs,
  })
  const inodes = ({ inodesFree: available, inodes: capacity }: DiskUsage): Observation => ({
    available,
    capacity,
    timeMs,
  })
  return new Map<Signal, Observation>([
    ['memory.available', bytes(memory)],
    ...(podsMemory ? [['allocatableMemory.available', bytes(podsMemory)] as const] : []),
    ['nodefs.available', bytes(nodefs)],
    ['nodefs.inodesFree', inodes(nodefs)],
    ['imagefs.available', bytes(imagefs)],
    ['imagefs.inodesFree', inodes(imagefs)],
    ...(pids ? [['pid.available', { available: pids.max - pids.running, capacity: pids.max, timeMs }] as const] : []),
  ])
}
