import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  findEntry,
  positionsOf,
  rulesBefore,
  withEntry,
  withoutEntry,
  type Entry,
  type Positions,
} from '../src/iptables/positions.ts'

const depth = (tree: Positions): number => (tree ? 1 + Math.max(depth(tree.left), depth(tree.right)) : 0)
const entry = (key: string, counts: number[]): Entry => ({ key, counts, comments: true })

test('as many rules come before a key as are counted one by one, whatever came and went', () => {
  const key = fc.string({ minLength: 1, maxLength: 2, unit: fc.constantFrom('a', 'b', 'c', '/', '-') })
  const change = fc.record({ key, counts: fc.option(fc.tuple(fc.nat(3), fc.nat(3))) })
  const some = fc.uniqueArray(key).map((keys) => keys.sort().map((at, index) => entry(at, [index % 4, 1])))
  fc.assert(
    fc.property(some, fc.array(change, { maxLength: 60 }), key, (first, changes, asked) => {
      const expected = new Map(first.map(({ key: at, counts }) => [at, [...counts]]))
      let tree = positionsOf(first)
      expect(depth(tree)).toBe(Math.ceil(Math.log2(first.length + 1)))
      for (const { key: at, counts } of changes) {
        const before = tree
        const frozen = JSON.stringify(before)
        tree = counts ? withEntry(tree, entry(at, counts)) : withoutEntry(tree, at)
        if (counts) expected.set(at, counts)
        else expected.delete(at)
        expect(JSON.stringify(before)).toBe(frozen)
      }
      for (const chain of [0, 1]) {
        const smaller = [...expected].filter(([at]) => at < asked)
        expect(rulesBefore(tree, asked, chain)).toBe(smaller.reduce((sum, [, counts]) => sum + (counts[chain] ?? 0), 0))
      }
      expect(findEntry(tree, asked)?.counts).toEqual(expected.get(asked))
    }),
  )
})

test.each([
  ['in order', (n: number) => n],
  ['from behind', (n: number) => -n],
  ['mixed', (n: number) => (n * 7919) % 4096],
])('keys that come %s, and half of which go, leave a shallow tree', (_, place) => {
  const keys = Array.from({ length: 4096 }, (_, n) => String(place(n) + 10_000))
  let tree: Positions
  for (const key of keys) tree = withEntry(tree, entry(key, [1]))
  for (const key of keys.slice(0, 2048)) tree = withoutEntry(tree, key)
  expect(tree?.size).toBe(2048)
  // The bound of weight-balanced trees with these weights: 2.41 times the logarithm.
  expect(depth(tree)).toBeLessThan(2.41 * Math.log2(2049) + 1)
})
