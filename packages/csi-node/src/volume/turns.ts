// One piece of work at a time per volume; volumes do not wait for each other.

export interface Turns {
  run<T>(name: string, work: () => Promise<T>): Promise<T>
  /** Fulfilled when no work goes on. */
  idle(): Promise<void>
}

export function createTurns(): Turns {
  const tails = new Map<string, Promise<void>>()
  return {
    async run(name, work) {
      const result = (tails.get(name) ?? Promise.resolve()).then(work)
      const tail = result.then(
        () => undefined,
        () => undefined, // it is the caller who is told
      )
      tails.set(name, tail)
      void tail.then(() => {
        if (tails.get(name) === tail) tails.delete(name)
      })
      return result
    },
    async idle() {
      while (tails.size > 0) await Promise.all(tails.values())
    },
  }
}
