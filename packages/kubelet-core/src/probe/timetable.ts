// Work to be done at given times: one timer for all of it.

/** Keyed entries; each key has one time at most. */
export interface Timetable<Key> {
  /** @param due milliseconds since the epoch */
  set(key: Key, due: number): void
  delete(key: Key): void
  close(): void
}

const longestTimerMs = 2 ** 31 - 1

/** Calls `run` with each key once its time has come; the key is no longer in the table then. */
export function createTimetable<Key>(run: (key: Key) => void, now: () => number): Timetable<Key> {
  const entries = new Map<Key, number>()
  let timer: NodeJS.Timeout | undefined
  let armedFor = Infinity

  const arm = (): void => {
    const next = Math.min(Infinity, ...entries.values())
    if (next === armedFor) return
    clearTimeout(timer)
    armedFor = next
    if (next === Infinity) return
    timer = setTimeout(fire, Math.min(Math.max(next - now(), 0), longestTimerMs))
  }
  const fire = (): void => {
    armedFor = Infinity
    const time = now()
    const due = [...entries].filter(([, at]) => at <= time)
    for (const [key] of due) entries.delete(key)
    for (const [key] of due) run(key)
    arm()
  }
  return {
    set: (key, due) => {
      entries.set(key, due)
      arm()
    },
    delete: (key) => {
      entries.delete(key)
      arm()
    },
    close: () => {
      entries.clear()
      clearTimeout(timer)
    },
  }
}
