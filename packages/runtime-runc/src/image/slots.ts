// A bound on what runs at once.

export interface Slots {
  /** Runs work when there is room, in the order of asking. @throws the signal's reason when it aborts before that */
  run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T>
}

export function createSlots(most: number): Slots {
  let free = most
  const waiting = new Set<() => void>()

  const enter = async (signal: AbortSignal | undefined): Promise<void> => {
    signal?.throwIfAborted()
    if (free > 0) {
      free -= 1
      return
    }
    const turn = Promise.withResolvers<undefined>()
    const go = (): void => turn.resolve(undefined)
    const leave = (): void => {
      if (waiting.delete(go)) turn.reject(signal?.reason as Error)
    }
    waiting.add(go)
    signal?.addEventListener('abort', leave, { once: true })
    try {
      await turn.promise
    } finally {
      signal?.removeEventListener('abort', leave)
    }
  }

  /** The place goes to who has waited longest. */
  const leave = (): void => {
    const [next] = waiting
    if (!next) {
      free += 1
      return
    }
    waiting.delete(next)
    next()
  }

  return {
    run: async (work, signal) => {
      await enter(signal)
      try {
        return await work()
      } finally {
        leave()
      }
    },
  }
}
