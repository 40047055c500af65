// Statuses of pods on their way to the API: the newest counts, one request per pod at a time, tried until it is written.
import { isConflict, isNotFound, type KubeClient, pods, strategicPatch } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { type Clock, systemClock } from './clock.ts'
import { type Logger, silentLogger } from './log.ts'
import type { ObservedStatus } from './pod/status.ts'
import { createSlots } from './pod/slots.ts'
import { same, statusPatch } from './status-patch.ts'

export interface StatusWriter {
  /** The status that the pod has now; written in the background. */
  set(pod: Pod, status: ObservedStatus): void
  /** The newest status, written or not. */
  get(podUid: string): ObservedStatus | undefined
  /** The pod as the API has it: for a static pod its mirror. What deviates is written again. */
  observe(podUid: string, inApi: Pod | undefined): void
  /** Somebody else has ended the pod: its phase in the API stays. @returns whether that is news */
  adopt(podUid: string, inApi: Pod): boolean
  /** The status as the API has it. */
  known(podUid: string): ObservedStatus | undefined
  /** Fulfilled when the newest status is in the API, or the pod is not; at once without an API. Ends with the signal. */
  flush(podUid: string, signal?: AbortSignal): Promise<void>
  forget(podUid: string): void
  close(): void
}

export interface StatusWriterOptions {
  client?: Pick<KubeClient, 'patch'> | undefined
  /** Requests at a time, over all pods; default 16. */
  parallel?: number
  /** The API server has this status of the pod; `tookMs` passed since it was known that the one before is past. */
  written?: (pod: Pod, status: ObservedStatus, tookMs: number) => void
  clock?: Clock
  log?: Logger
}

interface Entry {
  /** Whose status it is, and since when another than the last written is wanted. */
  pod?: Pod | undefined
  changedMs?: number | undefined
  /** What is wanted can wait a little, since more may come. */
  cancelPause?: (() => void) | undefined
  /** What is wanted can wait no longer. */
  due: boolean
  wanted?: ObservedStatus | undefined
  /** The object in the API that carries the status. */
  target?: { namespace: string; name: string; uid: string } | undefined
  known?: ObservedStatus | undefined
  /** As the server answered the last write. */
  answer?: ObservedStatus | undefined
  /** Of what is known. */
  version?: string | undefined
  busy: boolean
  failures: number
  cancelRetry?: (() => void) | undefined
  waiters: (() => void)[]
}

/** So long a change waits for others, unless somebody acts upon it. */
const mergeMs = 400
const firstRetryMs = 200
const longestRetryMs = 10_000

export function createStatusWriter(options: StatusWriterOptions = {}): StatusWriter {
  const { client, parallel = 16, written, clock = systemClock, log = silentLogger } = options
  const entries = new Map<string, Entry>()
  const slots = createSlots(parallel)
  let closed = false

  const entryOf = (podUid: string): Entry => {
    const entry = entries.get(podUid) ?? { busy: false, due: false, failures: 0, waiters: [] }
    entries.set(podUid, entry)
    return entry
  }
  const settle = (entry: Entry): void => {
    for (const done of entry.waiters.splice(0)) done()
  }

  const write = async (entry: Entry): Promise<void> => {
    entry.busy = true
    try {
      for (;;) {
        const { wanted, target, known, pod, changedMs = clock.now() } = entry
        const patch = wanted && target && statusPatch(target.uid, known, wanted)
        if (wanted && target && !patch) entry.changedMs = undefined
        if (!client || !patch || closed) break
        if (!entry.due && entry.waiters.length === 0 && !isUrgent(known, wanted)) {
          pause(entry)
          break
        }
        endPause(entry)
        entry.changedMs = undefined
        const release = await slots.acquire()
        try {
          const { namespace, name } = target
          const answer = await client.patch(pods, { namespace, name }, strategicPatch(patch), { subresource: 'status' })
          if (entry.target === target) {
            // What was sent counts as known even where an older server drops a field: else it would be sent for ever.
            entry.known = wanted
            entry.answer = answer.status
            entry.version = answer.metadata?.resourceVersion
          }
          entry.failures = 0
          if (pod) written?.(pod, wanted, clock.now() - changedMs)
        } catch (error) {
          entry.changedMs = changedMs
          throw error
        } finally {
          release()
        }
      }
    } catch (error) {
      if (isNotFound(error) || isConflict(error)) {
        // Gone, or another pod has its name now: there is nobody to tell.
        entry.target = undefined
      } else retryLater(entry, error)
    } finally {
      entry.busy = false
    }
    if (!entry.cancelRetry) settle(entry)
  }

  const endPause = (entry: Entry): void => {
    entry.cancelPause?.()
    entry.cancelPause = undefined
    entry.due = false
  }

  const pause = (entry: Entry): void => {
    entry.cancelPause ??= clock.after(mergeMs, () => {
      entry.cancelPause = undefined
      entry.due = true // also when a request is under way: what follows it is not held back
      kick(entry)
    })
  }

  const retryLater = (entry: Entry, error: unknown): void => {
    entry.failures++
    const ms = Math.min(firstRetryMs * 2 ** Math.min(entry.failures - 1, 10), longestRetryMs)
    log.warn({ err: error, pod: entry.target?.name, again: ms }, 'status not written')
    entry.cancelRetry = clock.after(ms, () => {
      entry.cancelRetry = undefined
      if (!closed) void write(entry)
    })
  }

  const kick = (entry: Entry): void => {
    if (!entry.busy && !entry.cancelRetry && !closed) void write(entry)
  }

  return {
    set(pod, status) {
      const entry = entryOf(pod.metadata?.uid ?? '')
      entry.wanted = status
      entry.pod = pod
      entry.changedMs ??= clock.now()
      kick(entry)
    },
    get: (podUid) => entries.get(podUid)?.wanted,
    known: (podUid) => entries.get(podUid)?.known,
    observe(podUid, inApi) {
      const entry = entryOf(podUid)
      const { name, namespace, uid } = inApi?.metadata ?? {}
      if (!name || !namespace || !uid) {
        entry.target = undefined
        entry.known = undefined
        return
      }
      if (entry.target?.uid !== uid) {
        entry.target = { name, namespace, uid }
        entry.version = undefined
        entry.answer = undefined
      }
      const version = inApi?.metadata?.resourceVersion
      // While a write is under way, and until the watch has caught up with it, the watch shows the past.
      const isOurs = entry.answer !== undefined && same(entry.answer, inApi?.status)
      if (!entry.busy && !isOurs && !isOlder(version, entry.version)) {
        entry.known = inApi?.status
        entry.version = version
      }
      kick(entry)
    },
    adopt(podUid, inApi) {
      const entry = entryOf(podUid)
      if (!inApi.status || !isOver(inApi.status) || (entry.wanted && isOver(entry.wanted))) return false
      entry.wanted = inApi.status
      return true
    },
    async flush(podUid, signal) {
      const entry = entries.get(podUid)
      if (!entry || closed || !client || !entry.target) return
      const done = Promise.withResolvers<void>()
      entry.waiters.push(done.resolve)
      signal?.addEventListener('abort', () => done.resolve(), { once: true })
      kick(entry)
      await done.promise
    },
    forget(podUid) {
      const entry = entries.get(podUid)
      if (!entry) return
      entry.cancelRetry?.()
      entry.cancelRetry = undefined
      endPause(entry)
      entry.target = undefined
      settle(entry)
      entries.delete(podUid)
    },
    close() {
      closed = true
      for (const entry of entries.values()) {
        entry.cancelRetry?.()
        entry.cancelRetry = undefined
        endPause(entry)
        settle(entry)
      }
    },
  }
}

const isOver = ({ phase }: ObservedStatus): boolean => phase === 'Succeeded' || phase === 'Failed'

/** Schedulers, controllers and endpoints act upon the phase and on readiness: these changes do not wait. */
function isUrgent(known: ObservedStatus | undefined, wanted: ObservedStatus): boolean {
  const isReady = ({ conditions = [] }: ObservedStatus): boolean =>
    conditions.some(({ type, status }) => type === 'Ready' && status === 'True')
  return known?.phase !== wanted.phase || isReady(known ?? {}) !== isReady(wanted)
}

/** Versions are numbers in every API server that stores in etcd or alike; others are never older. */
function isOlder(version: string | undefined, than: string | undefined): boolean {
  const numbers = [version, than].map((text) => (/^\d+$/.test(text ?? '') ? BigInt(text ?? 0) : undefined))
  const [a, b] = numbers
  return a !== undefined && b !== undefined && a < b
}
