// Waiting longer after each failure.

import { setTimeout as sleep } from 'node:timers/promises'

/** How long to wait between tries. */
export interface Backoff {
  /** First delay in milliseconds; default 800. */
  readonly initialMs: number
  /** Longest delay in milliseconds before jitter; default 30000. */
  readonly maxMs: number
}

/** The reflector's values of client-go. */
export const DEFAULT_BACKOFF: Backoff = { initialMs: 800, maxMs: 30_000 }

/**
 * The delay before a try: doubled each time, up to twice as long by jitter.
 * @param failures how many failures in a row came before, from 1
 * @param random from 0 to 1
 */
export const delayAfter = (failures: number, { initialMs, maxMs }: Backoff, random: number): number =>
  Math.min(maxMs, initialMs * 2 ** Math.min(failures - 1, 30)) * (1 + random)

/** Waits. @throws the signal's reason */
export const pause = async (ms: number, signal?: AbortSignal): Promise<void> => {
  try {
    await sleep(ms, undefined, signal ? { signal } : {})
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  }
}
