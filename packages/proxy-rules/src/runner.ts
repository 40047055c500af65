// Work on request: one run at a time, requests become one, failures are tried again.

export interface Runner {
  /** Asks for a run: at once when idle, else after the pause that follows each run, be it a failed one. */
  request(): void
  /** Once a run has succeeded that began after all requests so far. */
  settled(): Promise<void>
  /** Since when a request has been waiting for a run that succeeds, in milliseconds since the epoch; undefined when none is. */
  waitingSince(): number | undefined
  /** When a run succeeded last, in milliseconds since the epoch. */
  succeededAt(): number | undefined
  /** No more runs; waits for the one that is going on. */
  close(): Promise<void>
}

export interface RunnerOptions {
  /** @param signal aborted when the runner is closed: what has not begun in earnest may end then */
  work(signal: AbortSignal): Promise<void>
  /** Milliseconds between the end of a run and the next. */
  pauseMs: number
  /** Milliseconds after a first failure, unless a request comes before; doubles up to `longestRetryMs`. */
  retryMs: number
  longestRetryMs: number
  onFailure(error: unknown): void
}

interface Waiter {
  /** How many requests there were when it began to wait. */
  requests: number
  resolve(): void
  reject(error: Error): void
}

export function createRunner({ work, pauseMs, retryMs, longestRetryMs, onFailure }: RunnerOptions): Runner {
  let requests = 0
  /** How many of them a run that succeeded has served: those that there were when it began. */
  let served = 0
  let running: Promise<void> | undefined
  /** Runs wait for it after each run, and the next try after a failure. */
  let pause: NodeJS.Timeout | undefined
  let retry: NodeJS.Timeout | undefined
  let failures = 0
  const closing = new AbortController()
  let waiters: Waiter[] = []
  let since: number | undefined
  let succeeded: number | undefined

  const pump = (): void => {
    if (closing.signal.aborted || running || pause || requests === served) return
    clearTimeout(retry)
    running = run()
  }
  const run = async (): Promise<void> => {
    const [begun, serving] = [Date.now(), requests]
    let delay: number | undefined
    try {
      await work(closing.signal)
      failures = 0
      served = serving
      succeeded = Date.now()
      since = requests > served ? begun : undefined
    } catch (error) {
      // What the closing ended has not failed.
      if (!closing.signal.aborted) onFailure(error)
      delay = Math.min(retryMs * 2 ** failures, longestRetryMs)
      failures += 1
    }
    running = undefined
    release()
    if (!closing.signal.aborted) rest(serving, delay)
  }
  /** @param tried how many requests the run has heard; @param retryAfterMs undefined: it has succeeded */
  const rest = (tried: number, retryAfterMs: number | undefined): void => {
    pause = setTimeout(() => {
      pause = undefined
      // What was asked for meanwhile does not wait for the next try.
      if (retryAfterMs === undefined || requests > tried) return pump()
      retry = setTimeout(pump, retryAfterMs - pauseMs)
      retry.unref()
    }, pauseMs)
    pause.unref()
  }
  const release = (): void => {
    const done = waiters.filter((waiter) => waiter.requests <= served)
    waiters = waiters.filter((waiter) => waiter.requests > served)
    for (const { resolve } of done) resolve()
  }
  return {
    request: () => {
      requests += 1
      since ??= Date.now()
      pump()
    },
    settled: () => {
      if (requests === served) return Promise.resolve()
      return new Promise((resolve, reject) => waiters.push({ requests, resolve, reject }))
    },
    waitingSince: () => since,
    succeededAt: () => succeeded,
    close: async () => {
      closing.abort(new Error('the proxy was closed'))
      clearTimeout(pause)
      clearTimeout(retry)
      await running
      for (const { reject } of waiters) reject(new Error('the proxy was closed before its rules were loaded'))
      waiters = []
    },
  }
}
