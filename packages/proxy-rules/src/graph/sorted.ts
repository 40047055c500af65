// Arrays in the order of keys. To copy one costs next to nothing, unlike a Map, so that each version of a graph has its own.
import { eachInTurn, finish, type Steps } from '../slices.ts'

/** Something with a key of its own. */
export interface Keyed {
  key: string
}

/** More changes than this are merged at once instead of one by one. */
const fewChanges = 32
/** So many are sorted in one step. */
const runLength = 512

const byKey = (a: Keyed, b: Keyed): number => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)

/** Where the key is, or would be. */
function indexOf(sorted: readonly Keyed[], key: string): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((sorted[middle]?.key ?? '') < key) low = middle + 1
    else high = middle
  }
  return low
}

/** The item with this key. */
export function findByKey<T extends Keyed>(sorted: readonly T[], key: string): T | undefined {
  const item = sorted[indexOf(sorted, key)]
  return item?.key === key ? item : undefined
}

/** The items whose keys begin so. */
export function findByPrefix<T extends Keyed>(sorted: readonly T[], prefix: string): T[] {
  const first = indexOf(sorted, prefix)
  let end = first
  while (sorted[end]?.key.startsWith(prefix)) end += 1
  return sorted.slice(first, end)
}

/** A copy with other items at some keys; undefined removes one. */
export const withChanges = <T extends Keyed>(
  sorted: readonly T[],
  changes: ReadonlyMap<string, T | undefined>,
): readonly T[] => finish(withChangesInTurn(sorted, changes))

/** The same for many changes, to be done in slices. */
export function* withChangesInTurn<T extends Keyed>(
  sorted: readonly T[],
  changes: ReadonlyMap<string, T | undefined>,
): Steps<readonly T[]> {
  if (changes.size === 0) return sorted
  if (changes.size > fewChanges) {
    const kept: T[] = []
    yield* eachInTurn(sorted, (item) => {
      if (!changes.has(item.key)) kept.push(item)
    })
    return yield* merged(kept, yield* sortedByKey([...changes.values()].filter((item) => item !== undefined)))
  }
  const copy = [...sorted]
  for (const [key, item] of changes) {
    const index = indexOf(copy, key)
    const isThere = copy[index]?.key === key
    if (item && isThere) copy[index] = item
    else copy.splice(index, isThere ? 1 : 0, ...(item ? [item] : []))
  }
  return copy
}

/** By merging: to sort many at once would take too long. */
export function* sortedByKey<T extends Keyed>(items: readonly T[]): Steps<readonly T[]> {
  let runs: (readonly T[])[] = []
  for (let at = 0; at < items.length; at += runLength) {
    runs.push(items.slice(at, at + runLength).sort(byKey))
    yield
  }
  while (runs.length > 1) {
    const longer: (readonly T[])[] = []
    for (let at = 0; at < runs.length; at += 2) longer.push(yield* merged(runs[at] ?? [], runs[at + 1] ?? []))
    runs = longer
  }
  return runs[0] ?? []
}

function* merged<T extends Keyed>(a: readonly T[], b: readonly T[]): Steps<readonly T[]> {
  const all: T[] = []
  let at = 0
  yield* eachInTurn(b, (item) => {
    for (let next = a[at]; next && next.key <= item.key; next = a[++at]) all.push(next)
    all.push(item)
  })
  // Pieces: what is left may be long.
  for (; at < a.length; at += runLength) all.push(...a.slice(at, at + runLength))
  return all
}
