// Long work that lets others have the event loop: a generator yields where it may be interrupted, and its caller says how often.
import { setImmediate as turn } from 'node:timers/promises'

/** Work that can be interrupted at each `yield`. What is left to do does not depend on how often that happens. */
export type Steps<Result> = Generator<void, Result, void>

/** Others wait for the event loop about this long at most, in milliseconds. */
const sliceMs = 4

/** Does all of the work at once. */
export function finish<Result>(steps: Steps<Result>): Result {
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
export async function inSlices<Result>(steps: Steps<Result>, signal?: AbortSignal): Promise<Result> {
  let end = performance.now() + sliceMs
  try {
    signal?.throwIfAborted()
    for (;;) {
      const { done, value } = steps.next()
      if (done) return value
      if (performance.now() < end) continue
      await turn()
      signal?.throwIfAborted()
      end = performance.now() + sliceMs
    }
  } finally {
    // Steps that were not done to their end put back what they took.
    steps.return(undefined as Result)
  }
}

/** Items between two looks at the clock where each takes next to nothing. */
const batch = 256

/** Calls `work` for each item. */
export function* eachInTurn<T>(items: Iterable<T>, work: (item: T) => void): Steps<void> {
  let count = 0
  for (const item of items) {
    work(item)
    count += 1
    if (count % batch === 0) yield
  }
}
