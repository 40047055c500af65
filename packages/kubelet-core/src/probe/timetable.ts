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

  const arm = (due: number): void => {
    clearTimeout(timer)
    armedFor = due
    if (due === Infinity) return
    timer = setTimeout(fire, Math.min(Math.max(due - now(), 0), longestTimerMs))
  }
  const fire = (): void => {
    const time = now()
    const due = [...entries].filter(([, at]) => at <= time)
    for (const [key] of due) entries.delete(key)
    armedFor = -Infinity // what `run` sets is looked at below
    for (const [key] of due) run(key)
    arm(Math.min(Infinity, ...entries.values()))
  }
  return {
    set: (key, due) => {
      entries.set(key, due)
      if (due < armedFor) arm(due)
    },
    // The timer stays as it is: should nothing be due, it is set anew.
    delete: (key) => void entries.delete(key),
    close: () => {
      entries.clear()
      clearTimeout(timer)
    },
  }
}
