// In which order pods are evicted for a starved resource. Pure.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { podQuantity } from '../resource/pod-resources.ts'
import { resourceOf } from './signals.ts'
import type { Signal } from './thresholds.ts'
import type { PodUsage, StorageUsage } from './usage.ts'

/** What of a pod lies on the starved file system. */
export interface DiskParts {
  rootfs: boolean
  logs: boolean
  volumes: boolean
}

/** @param split images have a file system of their own */
export function partsOn(signal: Signal, split: boolean): DiskParts {
  const ofImages = signal.startsWith('imagefs')
  if (!split) return { rootfs: true, logs: true, volumes: true }
  return { rootfs: ofImages, logs: !ofImages, volumes: !ofImages }
}

export function storageOf(usage: PodUsage, { rootfs, logs, volumes }: DiskParts): StorageUsage {
  const parts = [
    ...[...usage.containers.values()].flatMap((one) => [...(rootfs ? [one.rootfs] : []), ...(logs ? [one.logs] : [])]),
    ...(volumes ? [...usage.volumes.values()].filter(({ onDisk }) => onDisk) : []),
  ]
  return parts.reduce((sum, { bytes, inodes }) => ({ bytes: sum.bytes + bytes, inodes: sum.inodes + inodes }), {
    bytes: 0n,
    inodes: 0n,
  })
}

export interface RankingFacts {
  signal: Signal
  split: boolean
  /** Undefined for a pod of which nothing is known. */
  usageOf(pod: Pod): PodUsage | undefined
}

/** First who goes first: who uses more than asked for, then the lower priority, then the greater excess. */
export function rankPods(pods: readonly Pod[], { signal, split, usageOf }: RankingFacts): Pod[] {
  const resource = resourceOf(signal)
  const parts = partsOn(signal, split)
  const judged = pods.map((pod) => {
    const usage = usageOf(pod)
    const priority = pod.spec?.priority ?? 0
    if (!usage) return { pod, unknown: true, exceeds: true, priority, excess: 0n }
    if (resource === 'pids') return { pod, unknown: false, exceeds: true, priority, excess: usage.processes }
    const storage = storageOf(usage, parts)
    const used = { memory: usage.memoryBytes, 'ephemeral-storage': storage.bytes, inodes: storage.inodes }[resource]
    const request = resource === 'inodes' ? 0n : podQuantity(pod, 'requests', resource) / 1000n
    return { pod, unknown: false, exceeds: used > request, priority, excess: used - request }
  })
  const flag = (a: boolean, b: boolean): number => Number(b) - Number(a)
  return judged
    .toSorted(
      (a, b) =>
        flag(a.unknown, b.unknown) ||
        flag(a.exceeds, b.exceeds) ||
        a.priority - b.priority ||
        (a.excess === b.excess ? 0 : a.excess > b.excess ? -1 : 1),
    )
    .map(({ pod }) => pod)
}
