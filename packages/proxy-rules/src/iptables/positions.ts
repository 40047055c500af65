// How many rules each service port has in each of the chains that all share, so that the place of its own is found without counting.
// A weight-balanced tree; changes leave the version before as it is.

/** The rules of one service port. */
export interface Entry {
  key: string
  /** Rules in each chain, and behind these those in chains of its own. */
  counts: readonly number[]
  /** Whether its own chains were written with comments. */
  comments: boolean
}

/** Entries in the order of their keys; undefined is none. */
export type Positions = Branch | undefined

interface Branch {
  entry: Entry
  left: Positions
  right: Positions
  /** Of entries. */
  size: number
  /** Of the counts. */
  sums: readonly number[]
}

/** A side may have so many times the entries of the other, and the inner part of it so many times those of the outer one. */
const [mostWeight, mostInner] = [3, 2]

const sizeOf = (tree: Positions): number => tree?.size ?? 0

const plus = (a: readonly number[], b: readonly number[] | undefined): readonly number[] =>
  b ? a.map((value, at) => value + (b[at] ?? 0)) : a

const branch = (entry: Entry, left: Positions, right: Positions): Branch => ({
  entry,
  left,
  right,
  size: sizeOf(left) + sizeOf(right) + 1,
  sums: plus(plus(entry.counts, left?.sums), right?.sums),
})

function balanced(entry: Entry, left: Positions, right: Positions): Branch {
  const few = sizeOf(left) + sizeOf(right) < 2
  if (!few && right && right.size > mostWeight * sizeOf(left)) {
    const inner = right.left
    if (!inner || inner.size < mostInner * sizeOf(right.right))
      return branch(right.entry, branch(entry, left, inner), right.right)
    return branch(inner.entry, branch(entry, left, inner.left), branch(right.entry, inner.right, right.right))
  }
  if (!few && left && left.size > mostWeight * sizeOf(right)) {
    const inner = left.right
    if (!inner || inner.size < mostInner * sizeOf(left.left))
      return branch(left.entry, left.left, branch(entry, inner, right))
    return branch(inner.entry, branch(left.entry, left.left, inner.left), branch(entry, inner.right, right))
  }
  return branch(entry, left, right)
}

/** Of all entries at once, which are in the order of their keys. */
export function positionsOf(entries: readonly Entry[], from = 0, to: number = entries.length): Positions {
  const middle = (from + to) >>> 1
  const entry = from < to ? entries[middle] : undefined
  return entry && branch(entry, positionsOf(entries, from, middle), positionsOf(entries, middle + 1, to))
}

/** With the entry at its key, in place of another one there. */
export function withEntry(tree: Positions, entry: Entry): Positions {
  if (!tree) return branch(entry, undefined, undefined)
  const { key } = tree.entry
  if (entry.key === key) return branch(entry, tree.left, tree.right)
  if (entry.key < key) return balanced(tree.entry, withEntry(tree.left, entry), tree.right)
  return balanced(tree.entry, tree.left, withEntry(tree.right, entry))
}

export function withoutEntry(tree: Positions, key: string): Positions {
  if (!tree) return undefined
  if (key < tree.entry.key) return balanced(tree.entry, withoutEntry(tree.left, key), tree.right)
  if (key > tree.entry.key) return balanced(tree.entry, tree.left, withoutEntry(tree.right, key))
  if (!tree.right) return tree.left
  const next = firstOf(tree.right)
  return balanced(next, tree.left, withoutEntry(tree.right, next.key))
}

const firstOf = ({ entry, left }: Branch): Entry => (left ? firstOf(left) : entry)

export function findEntry(tree: Positions, key: string): Entry | undefined {
  let at = tree
  while (at && at.entry.key !== key) at = key < at.entry.key ? at.left : at.right
  return at?.entry
}

/** How many rules the entries before this key have in one of the chains. */
export function rulesBefore(tree: Positions, key: string, chain: number): number {
  let count = 0
  for (let at = tree; at; at = key <= at.entry.key ? at.left : at.right) {
    if (key > at.entry.key) count += (at.left?.sums[chain] ?? 0) + (at.entry.counts[chain] ?? 0)
  }
  return count
}
