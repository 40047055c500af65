// Trying again, each time after twice as long a wait.
import type { Clock } from './clock.ts'

export interface RetryOptions {
  /** Delays, in milliseconds. */
  firstMs: number
  longestMs: number
  clock: Clock
  signal: AbortSignal
  onError(error: unknown, againMs: number): void
}

/** Does it until it succeeds. @throws the signal's reason */
export async function untilDone<T>(work: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { firstMs, longestMs, clock, signal, onError } = options
  for (let delayMs = firstMs; ; delayMs = Math.min(2 * delayMs, longestMs)) {
    signal.throwIfAborted()
    try {
      return await work()
    } catch (error) {
      signal.throwIfAborted()
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
