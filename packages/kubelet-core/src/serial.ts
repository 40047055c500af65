// Work on things that have names, one after the other on each of them.

export interface Turns {
  /** Does work when all before it on any of these has ended, whatever came of it. */
  take<T>(keys: readonly string[], work: () => Promise<T>): Promise<T>
}

export function createTurns(): Turns {
  /** Name → the end of the last work on it. */
  const tails = new Map<string, Promise<void>>()
  return {
    async take(keys, work) {
      const before = keys.flatMap((key) => tails.get(key) ?? [])
      const { promise: ended, resolve: end } = Promise.withResolvers<void>()
      // At once for all of them: nobody can wait for somebody who waits for him.
      for (const key of keys) tails.set(key, ended)
      try {
        await Promise.all(before)
        return await work()
      } finally {
        end()
        for (const key of keys) if (tails.get(key) === ended) tails.delete(key)
      }
    },
  }
}
