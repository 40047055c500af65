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
