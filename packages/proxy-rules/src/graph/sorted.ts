// Arrays in the order of keys. To copy one costs next to nothing, unlike a Map, so that each version of a graph has its own.

/** Something with a key of its own. */
export interface Keyed {
  key: string
}

/** More changes than this are merged at once instead of one by one. */
const fewChanges = 32

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
export function withChanges<T extends Keyed>(sorted: readonly T[], changes: ReadonlyMap<string, T | undefined>): T[] {
  if (changes.size > fewChanges) {
    const kept = sorted.filter(({ key }) => !changes.has(key))
    const put = [...changes.values()].filter((item) => item !== undefined)
    return [...kept, ...put].sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
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
