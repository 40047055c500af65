// So many requests a second, and some more at once after a quiet time.

import { pause } from './backoff.ts'

export interface RateLimit {
  /** Requests per second, over time. */
  readonly qps: number
  /** Requests that may go at once after a quiet time; at least 1. */
  readonly burst: number
}

/** Fulfilled when one more request may go: first come, first served. Aborting gives the turn back. */
export type RateLimiter = (signal: AbortSignal) => Promise<void>

/** @throws RangeError naming a value that lets nothing through */
export const rateLimiter = ({ qps, burst }: RateLimit): RateLimiter => {
  if (!(qps > 0 && burst >= 1))
    throw new RangeError(`rate limit: qps ${qps} must be above 0, burst ${burst} at least 1`)
  const intervalMs = 1000 / qps
  /** When the bucket is full again, if nothing more is taken from it. */
  let fullMs = performance.now()
  return async (signal) => {
    const nowMs = performance.now()
    const waitMs = Math.max(fullMs, nowMs) - nowMs - (burst - 1) * intervalMs
    fullMs = Math.max(fullMs, nowMs) + intervalMs
    if (waitMs <= 0) return
    try {
      await pause(waitMs, signal)
    } catch (error) {
      fullMs -= intervalMs
      throw error
    }
  }
}
