// Lets so many through at once, and then one each so often.
import type { Clock } from './clock.ts'

/** Answers whether one more may pass. */
export type TokenBucket = () => boolean

/** @param refillMs until one more may pass */
export function createTokenBucket(burst: number, refillMs: number, clock: Pick<Clock, 'now'>): TokenBucket {
  let tokens = burst
  let atMs = clock.now()
  return () => {
    const nowMs = clock.now()
    tokens = Math.min(burst, tokens + (nowMs - atMs) / refillMs)
    atMs = nowMs
    if (tokens < 1) return false
    tokens--
    return true
  }
}
