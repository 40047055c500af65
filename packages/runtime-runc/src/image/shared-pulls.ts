// Callers that want the same image at the same time share one pull.
import { CriError } from '@nodelet/cri-api'
import type { Progress } from './pull.ts'

/** Fetches for as long as anybody waits. */
export type Fetch<T> = (signal: AbortSignal, onProgress: (progress: Progress) => void) => Promise<T>

export interface SharedPulls<T> {
  /** Joins the pull of this key, or begins it. When `signal` aborts, only this caller leaves. */
  join(
    key: string,
    fetch: Fetch<T>,
    signal: AbortSignal | undefined,
    onProgress: ((progress: Progress) => void) | undefined,
  ): Promise<T>
}

interface Shared<T> {
  waiters: number
  listeners: Set<(progress: Progress) => void>
  leaving: AbortController
  work: Promise<T>
}

/** @param windsDown the last caller that leaves waits for the work's end: nothing of it comes after that */
export function createSharedPulls<T>({ windsDown = false }: { windsDown?: boolean } = {}): SharedPulls<T> {
  const running = new Map<string, Shared<T>>()

  const begin = (key: string, fetch: Fetch<T>): Shared<T> => {
    const listeners = new Set<(progress: Progress) => void>()
    const leaving = new AbortController()
    const work = fetch(leaving.signal, (progress) => listeners.forEach((tell) => tell(progress)))
    const shared = { waiters: 0, listeners, leaving, work }
    running.set(key, shared)
    const ended = (): void => {
      if (running.get(key) === shared) running.delete(key)
    }
    work.then(ended, ended) // the failure is told to those who wait
    return shared
  }

  return {
    join: async (key, fetch, signal, onProgress) => {
      signal?.throwIfAborted()
      const shared = running.get(key) ?? begin(key, fetch)
      const left = Promise.withResolvers<never>()
      const leave = (): void => left.reject(signal?.reason as Error)
      shared.waiters += 1
      if (onProgress) shared.listeners.add(onProgress)
      signal?.addEventListener('abort', leave, { once: true })
      try {
        return await Promise.race([shared.work, left.promise])
      } finally {
        signal?.removeEventListener('abort', leave)
        if (onProgress) shared.listeners.delete(onProgress)
        shared.waiters -= 1
        if (shared.waiters === 0) {
          if (running.get(key) === shared) running.delete(key) // who comes now begins anew
          shared.leaving.abort(new CriError('CANCELLED', 'nobody waits for this pull any more'))
          if (windsDown) await Promise.allSettled([shared.work])
        }
      }
    },
  }
}
