// Ends a pull that waits for a network on which nothing moves.
import { CriError } from '@nodelet/cri-api'

export interface ProgressWatch extends Disposable {
  /** Aborts when nothing moved for too long. */
  signal: AbortSignal
  /** Bytes came. */
  moved(): void
  /** Runs what waits for the network; only such time counts. */
  waiting<T>(work: () => Promise<T>): Promise<T>
}

/** @param limitMs milliseconds without a byte; 0: never ends */
export function createProgressWatch(limitMs: number): ProgressWatch {
  const ending = new AbortController()
  let waits = 0
  let last = 0
  let timer: NodeJS.Timeout | undefined

  const check = (): void => {
    const left = last + limitMs - performance.now()
    if (left > 0) timer = setTimeout(check, left)
    else ending.abort(new CriError('DEADLINE_EXCEEDED', `no byte came in ${limitMs / 1000} s, so the pull is given up`))
  }

  return {
    signal: ending.signal,
    moved: () => {
      last = performance.now()
    },
    waiting: async (work) => {
      if (limitMs === 0) return work()
      waits += 1
      if (waits === 1) {
        last = performance.now()
        timer = setTimeout(check, limitMs)
      }
      try {
        return await work()
      } finally {
        waits -= 1
        if (waits === 0) clearTimeout(timer)
      }
    },
    [Symbol.dispose]: () => clearTimeout(timer),
  }
}
