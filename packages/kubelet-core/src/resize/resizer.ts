// Gives pods of the node the amounts that their changed specs ask for, as soon as they fit.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import { byTurn, obstacleToResize, type Pending, type ResizeFacts, type Waiting } from './decide.ts'

export interface ResizerOptions {
  facts(): ResizeFacts
  /** The pod fits now: its worker should ask again. */
  fits(podUid: string): void
  /** One that had to wait is granted; what made that possible. */
  accepted?: (by: RetryTrigger) => void
  clock: Clock
}

/** Its spec changed, another was resized or removed, or it was time to look again. */
export type RetryTrigger = 'pod_updated' | 'pod_resized' | 'pods_removed' | 'periodic_retry'

export interface Resizer {
  /**
   * @param pod as its spec wants it
   * @param given as it is
   * @returns why it has to wait; undefined when it may have what it wants from now on
   */
  want(pod: Pod, given: Pod): Pending | undefined
  /** It wants what it has, or has ended. */
  forget(podUid: string): void
  /** Something was given back. */
  retry(by: RetryTrigger): void
  close(): void
}

const firstRetryMs = 30_000
const retryMs = 180_000

export function createResizer({ facts, fits, accepted, clock }: ResizerOptions): Resizer {
  const waiting = new Map<string, Waiting>()
  /** What made those fit that were told so. */
  const triggers = new Map<string, RetryTrigger>()
  let cancel: (() => void) | undefined

  /** Only the first who fits is told: once it has what it wants, the others are looked at again. */
  const retry = (by: RetryTrigger): void => {
    const known = facts()
    const next = [...waiting.values()].toSorted(byTurn).find(({ pod, given }) => !obstacleToResize(pod, known, given))
    const uid = next?.pod.metadata?.uid
    if (uid === undefined) return
    triggers.set(uid, by)
    fits(uid)
  }
  const schedule = (ms: number): void => {
    cancel?.()
    cancel = clock.after(ms, () => {
      cancel = undefined
      retry('periodic_retry')
      if (waiting.size > 0) schedule(retryMs)
    })
  }

  return {
    want(pod, now) {
      const uid = pod.metadata?.uid ?? ''
      const pending = obstacleToResize(pod, facts(), now)
      if (!pending) {
        if (waiting.delete(uid)) accepted?.(triggers.get(uid) ?? 'pod_updated')
        triggers.delete(uid)
        queueMicrotask(() => retry('pod_resized'))
        return undefined
      }
      const sinceMs = waiting.get(uid)?.sinceMs ?? clock.now()
      if (pending.reason === 'Deferred') waiting.set(uid, { pod, given: now, sinceMs })
      else waiting.delete(uid)
      if (waiting.size > 0 && !cancel) schedule(firstRetryMs)
      return pending
    },
    forget(podUid) {
      waiting.delete(podUid)
      triggers.delete(podUid)
    },
    retry,
    close: () => cancel?.(),
  }
}
