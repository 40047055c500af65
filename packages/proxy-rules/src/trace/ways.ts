// Random choices, taken as one number says, or in all ways one after the other.

/** The index of one of several alternatives, whose weights sum to 1. */
export type Choose = (weights: readonly number[]) => number

/** The weights of so many alternatives that are all alike. */
export const evenly = (count: number): number[] => Array.from({ length: count }, () => 1 / count)

/** One of the ways in which something can go. */
export interface Way<T> {
  /** 0 to 1. */
  probability: number
  result: T
}

/** Runs `run` once for each way in which its choices can fall, in the order of the alternatives. */
export function allWays<T>(run: (choose: Choose) => T): Way<T>[] {
  const ways: Way<T>[] = []
  let next: readonly number[] | undefined = []
  while (next) {
    const planned: readonly number[] = next
    const taken: { index: number; count: number }[] = []
    let probability = 1
    const result = run((weights) => {
      const index = planned[taken.length] ?? 0
      taken.push({ index, count: weights.length })
      probability *= weights[index] ?? 0
      return index
    })
    ways.push({ probability, result })
    const last = taken.findLastIndex(({ index, count }) => index + 1 < count)
    next = last < 0 ? undefined : taken.slice(0, last + 1).map(({ index }, at) => (at === last ? index + 1 : index))
  }
  return ways
}

/** Runs `run` once, on the way that `quantile` falls on when all ways stand in their order, each as wide as it is probable. */
export function wayAt<T>(quantile: number, run: (choose: Choose) => T): Way<T> {
  let rest = quantile
  let probability = 1
  const result = run((weights) => {
    let index = 0
    while (index + 1 < weights.length && rest >= (weights[index] ?? 0)) rest -= weights[index++] ?? 0
    const weight = weights[index] ?? 0
    rest /= weight
    probability *= weight
    return index
  })
  return { probability, result }
}
