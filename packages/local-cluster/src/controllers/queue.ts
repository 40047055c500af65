// Keyed work: one run per key at a time, another when it was asked for meanwhile; failures are tried again later.
import type { Logger } from '../log.ts'

export interface WorkQueue extends AsyncDisposable {
  /** Work on this key, soon. */
  add(key: string): void
  /** The same after a while. */
  addAfter(key: string, ms: number): void
}

const firstRetryMs = 20
const longestRetryMs = 30_000

/** @param name for the log */
export function createQueue(name: string, work: (key: string) => Promise<void>, log: Logger | undefined): WorkQueue {
  const states = new Map<string, { again: boolean; failures: number }>()
  const timers = new Set<NodeJS.Timeout>()
  const running = new Set<Promise<void>>()
  let closed = false

  const later = (key: string, ms: number): void => {
    if (closed) return
    const timer = setTimeout(() => {
      timers.delete(timer)
      add(key)
    }, ms)
    timers.add(timer)
  }
  const run = async (key: string, state: { again: boolean; failures: number }): Promise<void> => {
    do {
      state.again = false
      try {
        await work(key)
        state.failures = 0
      } catch (error) {
        if (closed) break
        state.failures += 1
        log?.debug({ controller: name, key, err: error, failures: state.failures }, 'will be tried again')
        later(key, Math.min(firstRetryMs * 2 ** state.failures, longestRetryMs))
      }
    } while (state.again && !closed)
    if (state.failures === 0) states.delete(key)
  }
  const active = new Set<string>()
  const add = (key: string): void => {
    if (closed) return
    const state = states.get(key) ?? { again: false, failures: 0 }
    states.set(key, state)
    if (active.has(key)) {
      state.again = true
      return
    }
    active.add(key)
    const done = run(key, state).finally(() => {
      active.delete(key)
      running.delete(done)
    })
    running.add(done)
  }

  return {
    add,
    addAfter: later,
    [Symbol.asyncDispose]: async () => {
      closed = true
      for (const timer of timers) clearTimeout(timer)
      await Promise.allSettled(running)
    },
  }
}

export const keyOf = ({ metadata }: { metadata?: { namespace?: string; name?: string } }): string =>
  `${metadata?.namespace ?? ''}/${metadata?.name ?? ''}`

export function splitKey(key: string): { namespace: string; name: string } {
  const [namespace = '', name = ''] = key.split('/')
  return { namespace, name }
}
