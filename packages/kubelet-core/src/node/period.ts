// Something done again and again, never twice at a time.
import type { Clock } from '../clock.ts'

export interface Period {
  /** Does it at once, or once more after the run under way; the period begins anew. */
  now(): void
  close(): Promise<void>
}

export interface PeriodOptions {
  /** From the end of one run to the begin of the next. */
  ms: number
  /** Part of the period that is added at random; default 0.04. */
  jitter?: number
  run(signal: AbortSignal): Promise<void>
  /** After a failure it is tried again sooner. */
  onError(error: unknown, againMs: number): void
  clock: Clock
}

const firstRetryMs = 100
const longestRetryMs = 7000

/** Begins with the first {@link Period.now}. */
export function startPeriod({ ms, jitter = 0.04, run, onError, clock }: PeriodOptions): Period {
  const closing = new AbortController()
  let running: Promise<void> | undefined
  let again = false
  let failures = 0
  let cancel: (() => void) | undefined

  const turn = async (): Promise<void> => {
    do {
      again = false
      cancel?.()
      let waitMs = ms * (1 + Math.random() * jitter)
      try {
        await run(closing.signal)
        failures = 0
      } catch (error) {
        if (closing.signal.aborted) return
        waitMs = Math.min(firstRetryMs * 2 ** failures++, longestRetryMs, ms)
        onError(error, waitMs)
      }
      if (!again && !closing.signal.aborted) cancel = clock.after(waitMs, now)
    } while (again && !closing.signal.aborted)
  }
  const now = (): void => {
    if (closing.signal.aborted) return
    again = true
    running ??= turn().finally(() => (running = undefined))
  }
  return {
    now,
    async close() {
      closing.abort(new Error('the kubelet stops'))
      cancel?.()
      await running
    },
  }
}
