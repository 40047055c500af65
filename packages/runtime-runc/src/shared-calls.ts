// Calls that make something with a name: a client that asks again gets what its first call makes.
import { isDeepStrictEqual } from 'node:util'
import { CriError } from '@nodelet/cri-api'

/** How long a result whose client went away waits for the client to ask again. */
const UNCLAIMED_MS = 2 * 60_000

export interface SharedCall {
  /** The name of what is made. */
  key: string
  /** What it is made from: only the same content shares. Keys of maps have no order: clients in Go shuffle them. */
  content: unknown
  /** The client's; the work goes on without it. */
  signal?: AbortSignal | undefined
}

export interface SharedCalls<T> {
  /**
   * Runs the work, or waits for the same work that is under way or was finished after its client had gone.
   *
   * @throws CriError ALREADY_EXISTS while something else of that name is being made.
   */
  call(options: SharedCall, work: () => Promise<T>): Promise<T>
}

interface Running<T> {
  content: unknown
  since: number
  result: Promise<T>
  /** Done, and kept for the client that had gone. */
  unclaimed: boolean
}

/** `isThere` tells whether a result still stands: what was removed meanwhile is made anew. */
export function createSharedCalls<T>(
  isThere: (result: T) => boolean,
  unclaimedMs: number = UNCLAIMED_MS,
): SharedCalls<T> {
  const running = new Map<string, Running<T>>()
  const drop = (key: string, one: Running<T>): void => {
    if (running.get(key) === one) running.delete(key)
  }
  return {
    call: async ({ key, content, signal }, work) => {
      const known = running.get(key)
      if (known && isDeepStrictEqual(known.content, content)) {
        const result = await known.result
        drop(key, known)
        if (isThere(result)) return result
      } else if (known && !known.unclaimed) {
        const seconds = Math.round((Date.now() - known.since) / 1000)
        throw new CriError(
          'ALREADY_EXISTS',
          `another "${key}" is being made for ${seconds} s: wait for it, or remove it`,
        )
      }
      const one: Running<T> = { content, since: Date.now(), result: work(), unclaimed: false }
      running.set(key, one)
      try {
        const result = await one.result
        if (signal?.aborted) {
          one.unclaimed = true
          setTimeout(() => drop(key, one), unclaimedMs).unref()
        } else drop(key, one)
        return result
      } catch (error) {
        drop(key, one)
        throw error
      }
    },
  }
}
