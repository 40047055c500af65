// Trying again, each time after a longer wait.
import type { Clock } from './clock.ts'

export interface RetryOptions {
  /** Delays, in milliseconds. */
  firstMs: number
  longestMs: number
  /** How many times as long each delay is as the one before; default 2. */
  factor?: number
  /** Tries, after which the last error is thrown; default: no end. */
  tries?: number
  clock: Clock
  signal: AbortSignal
  onError(error: unknown, againMs: number): void
}

/** Does it until it succeeds. @throws the signal's reason; with `tries`, the last error */
export async function untilDone<T>(work: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { firstMs, longestMs, factor = 2, tries = Infinity, clock, signal, onError } = options
  for (let [delayMs, left] = [firstMs, tries]; ; delayMs = Math.min(factor * delayMs, longestMs)) {
    signal.throwIfAborted()
    try {
      return await work()
    } catch (error) {
      signal.throwIfAborted()
      if (--left <= 0) throw error
      onError(error, delayMs)
    }
    await pause(delayMs, clock, signal)
  }
}

/** @throws the signal's reason */
async function pause(ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const wake = (): void => resolve()
  const cancel = clock.after(ms, wake)
  signal.addEventListener('abort', wake, { once: true })
  await promise
  cancel()
  signal.removeEventListener('abort', wake)
  signal.throwIfAborted()
}
