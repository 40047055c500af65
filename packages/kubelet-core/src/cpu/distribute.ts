// How many CPUs each NUMA node gives when they are to be spread evenly. Pure.
import type { Cpu } from './topology.ts'

/**
 * As few nodes as can give equal parts; of those the ones that leave the free CPUs of the machine most even. What remains
 * is given in groups, by the nodes where that keeps them even.
 * @param groupSize CPUs that stay together: those of a core, or 1
 * @returns node → so many; undefined when no nodes can, or the count is no multiple of the group
 */
export function distribute(free: readonly Cpu[], count: number, groupSize: number): Map<number, number> | undefined {
  if (count % groupSize !== 0) return undefined
  const byNode = Map.groupBy(free, ({ node }) => node)
  const freeOf = new Map(
    [...byNode].map(([node, cpus]): [number, number] => [node, cpus.length]).toSorted(([a], [b]) => a - b),
  )
  for (let size = 1; size <= freeOf.size; size++) {
    const able = combinations([...freeOf.keys()], size).flatMap((nodes) => splitOver(nodes, freeOf, count, groupSize))
    const [best] = able.toSorted((a, b) => a.imbalance - b.imbalance)
    if (best) return best.parts
  }
  return undefined
}

interface Split {
  parts: Map<number, number>
  imbalance: number
}

function splitOver(
  nodes: readonly number[],
  freeOf: ReadonlyMap<number, number>,
  count: number,
  groupSize: number,
): Split[] {
  const each = Math.floor(count / nodes.length / groupSize) * groupSize
  const of = (node: number): number => freeOf.get(node) ?? 0
  if (nodes.some((node) => of(node) < each)) return []
  const more = (count - each * nodes.length) / groupSize
  const roomy = nodes.filter((node) => of(node) - each >= groupSize)
  if (roomy.length < more) return []
  return combinations(roomy, more).map((extra) => {
    const parts = new Map(nodes.map((node) => [node, each + (extra.includes(node) ? groupSize : 0)]))
    const after = [...freeOf].map(([node, own]) => own - (parts.get(node) ?? 0))
    return { parts, imbalance: deviation(after) }
  })
}

function deviation(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length)
}

function combinations(items: readonly number[], size: number): number[][] {
  if (size === 0) return [[]]
  return items.flatMap((first, index) => combinations(items.slice(index + 1), size - 1).map((rest) => [first, ...rest]))
}
