// Keyed work: one run per key at a time, another when it was asked for meanwhile; failures are tried again later.
import type { Logger } from '../log.ts'

export interface WorkQueue extends AsyncDisposable {
  /** Work on this key, soon. */
  add(key: string): void
  /** The same after a while; of several waits for a key the shortest counts. */
  addAfter(key: string, ms: number): void
}

const firstRetryMs = 20
const longestRetryMs = 30_000
/** What a timer can hold; longer waits are looked at again then. */
const longestTimerMs = 2 ** 31 - 1

/** @param name for the log */
export function createQueue(name: string, work: (key: string) => Promise<void>, log: Logger | undefined): WorkQueue {
  const states = new Map<string, { again: boolean; failures: number }>()
  const timers = new Map<string, { timer: NodeJS.Timeout; at: number }>()
  const running = new Set<Promise<void>>()
  let closed = false

  const later = (key: string, ms: number): void => {
    if (closed) return
    const at = performance.now() + Math.min(ms, longestTimerMs)
    const other = timers.get(key)
    if (other && other.at <= at) return
    clearTimeout(other?.timer)
    const timer = setTimeout(
      () => {
        timers.delete(key)
        add(key)
      },
      Math.min(ms, longestTimerMs),
    )
    timers.set(key, { timer, at })
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
      for (const { timer } of timers.values()) clearTimeout(timer)
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
