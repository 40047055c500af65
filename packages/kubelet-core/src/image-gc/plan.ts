// Which images may go, and how much must. Pure.

/** An image of the runtime, and what the kubelet has seen of it. Times are milliseconds since the epoch. */
export interface KnownImage {
  id: string
  bytes: bigint
  /** The runtime says that it must stay. */
  pinned: boolean
  /** A container has it, also one that has exited, or a volume of a pod. */
  used: boolean
  firstSeenMs: number
  /** 0 when it was never seen in use. */
  lastUsedMs: number
}

/** Those that may be removed, the longest unused first. @param minAgeMs since it was first seen */
export function removable(images: Iterable<KnownImage>, nowMs: number, minAgeMs: number): KnownImage[] {
  return [...images]
    .filter(({ used, pinned, firstSeenMs }) => !used && !pinned && nowMs - firstSeenMs >= minAgeMs)
    .toSorted((a, b) => a.lastUsedMs - b.lastUsedMs || a.firstSeenMs - b.firstSeenMs)
}

/**
 * Those that were not used for too long, whatever the disk says.
 * @param maxAgeMs `imageMaximumGCAge`; 0: none
 * @param startedMs when the kubelet started: what was before, nobody saw
 */
export function expired(
  images: readonly KnownImage[],
  nowMs: number,
  maxAgeMs: number,
  startedMs: number,
): KnownImage[] {
  if (maxAgeMs <= 0) return []
  return images.filter(({ lastUsedMs }) => nowMs - Math.max(lastUsedMs, startedMs) > maxAgeMs)
}

/** Bytes to free so that usage falls to the low threshold; 0 while it is below the high one. Percentages. */
export function bytesToFree(disk: { capacity: bigint; available: bigint }, high: number, low: number): bigint {
  const { capacity, available } = disk
  const usage = 100n - (available * 100n) / capacity
  if (high >= 100 || usage < BigInt(high)) return 0n
  return (capacity * BigInt(100 - low)) / 100n - available
}
