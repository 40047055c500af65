// Long work that lets others have the event loop: a generator yields where it may be interrupted. All such work of the process
// together has one slice of each turn of the loop.

/** Work that can be interrupted at each `yield`. What is left to do does not depend on how often that happens. */
export type Steps<Result> = Generator<void, Result, void>

/** Others wait for the event loop about this long at most, in milliseconds. */
const SLICE_MS = 4

/** When the slice of this turn is over; undefined while nobody has begun it. */
let endMs: number | undefined
/** Who goes on in later turns, one in each: first come, first served. */
const line: (() => void)[] = []
let isComing = false

const nextTurn = (): void => {
  isComing = false
  endMs = undefined
  line.shift()?.()
  if (line.length > 0) awaitTurn()
}

const awaitTurn = (): void => {
  if (isComing) return
  isComing = true
  setImmediate(nextTurn)
}

/**
 * Whether this turn of the event loop has time for more work of this kind. Who finds that it has none awaits {@link turn}.
 * Cheap enough to be asked before each step that takes microseconds.
 */
export const isTimeLeft = (): boolean => {
  const now = performance.now()
  if (endMs === undefined) {
    endMs = now + SLICE_MS
    awaitTurn()
  }
  return now < endMs
}

/** Fulfilled in a later turn of the event loop, of which the caller has the slice. */
export const turn = async (): Promise<void> =>
  new Promise((resolve) => {
    line.push(resolve)
    awaitTurn()
  })

/** Does all of the work at once. */
export const finish = <Result>(steps: Steps<Result>): Result => {
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

/**
 * Does the work in slices of 4 ms, and lets everybody else have a turn after each.
 *
 * @throws the signal's reason when aborted
 */
export const inSlices = async <Result>(steps: Steps<Result>, signal?: AbortSignal): Promise<Result> => {
  try {
    signal?.throwIfAborted()
    for (;;) {
      while (isTimeLeft()) {
        const { done, value } = steps.next()
        if (done) return value
      }
      await turn()
      signal?.throwIfAborted()
    }
  } finally {
    // Steps that were not done to their end put back what they took.
    steps.return(undefined as Result)
  }
}

/** Items between two looks at the clock where each takes next to nothing. */
const BATCH = 256

/** Calls `work` for each item. */
export const eachInTurn = function* <T>(items: Iterable<T>, work: (item: T) => void): Steps<void> {
  let count = 0
  for (const item of items) {
    work(item)
    count += 1
    if (count % BATCH === 0) yield
  }
}
