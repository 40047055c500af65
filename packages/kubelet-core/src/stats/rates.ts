// CPU time per second from CPU time so far.

interface Sample {
  timeNs: bigint
  usageNs: bigint
  /** Nanoseconds of CPU time per second; undefined after the first sample. */
  rate: bigint | undefined
}

export interface CpuRates {
  /**
   * @param key of what is measured, for instance a container's ID
   * @returns CPU nanoseconds per second since the sample before; undefined for the first
   */
  rate(key: string, timeNs: bigint, usageNs: bigint): bigint | undefined
  /** Forgets what was not asked for since the last call. */
  sweep(): void
}

const second = 1_000_000_000n

export function createCpuRates(): CpuRates {
  const samples = new Map<string, Sample>()
  const fresh = new Set<string>()
  return {
    rate(key, timeNs, usageNs) {
      fresh.add(key)
      const before = samples.get(key)
      // Too short a time tells nothing; a counter that fell is another's.
      if (before && timeNs - before.timeNs < second && usageNs >= before.usageNs) return before.rate
      const isNext = before && usageNs >= before.usageNs
      const rate = isNext ? ((usageNs - before.usageNs) * second) / (timeNs - before.timeNs) : undefined
      samples.set(key, { timeNs, usageNs, rate })
      return rate
    },
    sweep() {
      for (const key of samples.keys()) if (!fresh.has(key)) samples.delete(key)
      fresh.clear()
    },
  }
}
