// Work on one thing at a time.

/** Runs work on the same key one after the other, on different keys side by side. */
export function createLines(): <T>(key: string, work: () => Promise<T>) => Promise<T> {
  const lines = new Map<string, Promise<unknown>>()
  return async (key, work) => {
    const done = (lines.get(key) ?? Promise.resolve()).then(work)
    const quiet = done.catch(() => undefined) // the caller hears of it
    lines.set(key, quiet)
    try {
      return await done
    } finally {
      if (lines.get(key) === quiet) lines.delete(key)
    }
  }
}

/** Work beside each other, or one alone: first come, first served. */
export interface Gate {
  beside<T>(work: () => Promise<T>): Promise<T>
  /** Waits for all that came before, and keeps those that come later waiting. */
  alone<T>(work: () => Promise<T>): Promise<T>
}

export function createGate(): Gate {
  const running = new Set<Promise<unknown>>()
  let lastAlone: Promise<unknown> = Promise.resolve()
  return {
    beside: async (work) => {
      const done = lastAlone.then(work)
      const quiet = done.catch(() => undefined) // the caller hears of it
      running.add(quiet)
      void quiet.then(() => running.delete(quiet))
      return done
    },
    alone: async (work) => {
      const done = Promise.all([lastAlone, ...running]).then(work)
      lastAlone = done.catch(() => undefined) // the caller hears of it
      return done
    },
  }
}
