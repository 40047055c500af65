// Work on request: one run at a time, requests become one, failures are tried again.

export interface Runner {
  /** Asks for a run: at once when idle, else after the pause that follows each run. */
  request(): void
  /** Once a run has succeeded that began after all requests so far. */
  settled(): Promise<void>
  /** Since when a request has been waiting for a run that succeeds, in milliseconds since the epoch; undefined when none is. */
  waitingSince(): number | undefined
  /** No more runs; waits for the one that is going on. */
  close(): Promise<void>
}

export interface RunnerOptions {
  work(): Promise<void>
  /** Milliseconds between the end of a run and the next. */
  pauseMs: number
  /** Milliseconds after a first failure; doubles up to `longestRetryMs`. */
  retryMs: number
  longestRetryMs: number
  onFailure(error: unknown): void
}

interface Waiter {
  resolve(): void
  reject(error: Error): void
}

export function createRunner({ work, pauseMs, retryMs, longestRetryMs, onFailure }: RunnerOptions): Runner {
  let wanted = false
  let running: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined
  let failures = 0
  let closed = false
  let waiters: Waiter[] = []
  let since: number | undefined

  const pump = (): void => {
    if (closed || !wanted || running || timer) return
    wanted = false
    running = run()
  }
  const run = async (): Promise<void> => {
    let delay = pauseMs
    const begun = Date.now()
    try {
      await work()
      failures = 0
      since = wanted ? begun : undefined
    } catch (error) {
      onFailure(error)
      wanted = true
      delay = Math.max(pauseMs, Math.min(retryMs * 2 ** failures, longestRetryMs))
      failures += 1
    }
    running = undefined
    if (!wanted) release()
    if (closed) return
    timer = setTimeout(() => {
      timer = undefined
      pump()
    }, delay)
    timer.unref()
  }
  const release = (): void => {
    const done = waiters
    waiters = []
    for (const { resolve } of done) resolve()
  }
  return {
    request: () => {
      wanted = true
      since ??= Date.now()
      pump()
    },
    settled: () => {
      if (!wanted && !running) return Promise.resolve()
      return new Promise((resolve, reject) => waiters.push({ resolve, reject }))
    },
    waitingSince: () => since,
    close: async () => {
      closed = true
      clearTimeout(timer)
      await running
      for (const { reject } of waiters) reject(new Error('the proxy was closed before its rules were loaded'))
      waiters = []
    },
  }
}
