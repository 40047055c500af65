// What the NUMA nodes have left, by what was given out. Pure.
import type { KubeletConfiguration } from '../configuration/types.ts'
import { parseMilliQuantity } from '../quantity.ts'
import { idsOf, type NumaMask, type NumaNode, sizeOf } from '../topology/numa.ts'
import type { MemoryBlock, NodeMemory } from './state.ts'

/** NUMA node → kind → bytes that no container may have. */
export type ReservedMemory = ReadonlyMap<number, Readonly<Record<string, bigint>>>

/** NUMA node → what it has. */
export type Machine = ReadonlyMap<number, NodeMemory>

/**
 * KubeletConfiguration `reservedMemory`.
 * @param wanted what the node keeps for itself of a kind, which the parts of all nodes must make up
 * @throws RangeError naming what is wrong
 */
export function reservedMemory(
  parts: KubeletConfiguration['reservedMemory'],
  nodes: readonly NumaNode[],
  wanted: (kind: string) => bigint,
): ReservedMemory {
  const reserved = new Map<number, Record<string, bigint>>()
  const sums = new Map<string, bigint>()
  for (const { numaNode, limits } of parts) {
    const node = nodes.find(({ id }) => id === numaNode)
    if (!node) throw new RangeError(`reservedMemory: numaNode ${numaNode}: this machine has no such NUMA node`)
    if (reserved.has(numaNode)) throw new RangeError(`reservedMemory: numaNode ${numaNode}: is there twice`)
    const own: Record<string, bigint> = {}
    for (const [kind, amount] of Object.entries(limits)) {
      const field = `reservedMemory: numaNode ${numaNode}: ${kind}`
      if (kind !== 'memory' && !kind.startsWith('hugepages-')) {
        throw new RangeError(`${field}: is no kind of memory; write memory or hugepages-SIZE`)
      }
      own[kind] = parseMilliQuantity(amount, field) / 1000n
      if (own[kind] > (node.memory[kind] ?? 0n)) throw new RangeError(`${field} ${amount}: the node has not so much`)
      sums.set(kind, (sums.get(kind) ?? 0n) + own[kind])
    }
    reserved.set(numaNode, own)
  }
  for (const kind of new Set(['memory', ...sums.keys()])) {
    const [sum, all] = [sums.get(kind) ?? 0n, wanted(kind)]
    if (sum === all) continue
    throw new RangeError(
      `reservedMemory: ${kind}: ${sum} bytes on all nodes together, where kubeReserved, systemReserved and evictionHard make ${all}: they must be equal`,
    )
  }
  return reserved
}

/** The machine when these blocks have been given out, in order. */
export function machineWith(
  nodes: readonly NumaNode[],
  reserved: ReservedMemory,
  blocks: Iterable<MemoryBlock>,
): Machine {
  const machine = new Map(nodes.map((node) => [node.id, emptyNode(node, reserved)]))
  for (const { numaAffinity, type, size } of blocks) {
    let left = size
    for (const id of numaAffinity) {
      const node = machine.get(id)
      if (!node) continue
      node.numberOfAssignments++
      node.cells = numaAffinity
      const table = node.memoryMap[type]
      if (!table) continue
      const part = Math.min(left, table.free)
      table.reserved += part
      table.free -= part
      left -= part
    }
  }
  return machine
}

function emptyNode({ id, memory }: NumaNode, reserved: ReservedMemory): NodeMemory {
  const tables = Object.entries(memory).map(([kind, bytes]) => {
    const [total, systemReserved] = [Number(bytes), Number(reserved.get(id)?.[kind] ?? 0n)]
    const allocatable = total - systemReserved
    return [kind, { total, systemReserved, allocatable, reserved: 0, free: allocatable }] as const
  })
  return { numberOfAssignments: 0, memoryMap: Object.fromEntries(tables), cells: [id] }
}

/** Bytes of a kind in a set of nodes. */
export const sumOf = (machine: Machine, mask: NumaMask, kind: string, of: 'allocatable' | 'free'): number =>
  idsOf(mask).reduce((sum, id) => sum + (machine.get(id)?.memoryMap[kind]?.[of] ?? 0), 0)

/**
 * Whether containers may have memory of these nodes together: a node gives alone or in one group, never both, since what is
 * left in a group could not be told.
 */
export function mayGroup(machine: Machine, mask: NumaMask): boolean {
  const ids = idsOf(mask)
  if (sizeOf(mask) === 1) return (machine.get(ids[0] ?? -1)?.cells.length ?? 0) <= 1
  return ids.every((id) => {
    const { numberOfAssignments = 0, cells = [] } = machine.get(id) ?? {}
    return numberOfAssignments === 0 || cells.toSorted((a, b) => a - b).join() === ids.join()
  })
}
