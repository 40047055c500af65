// The NUMA nodes of a machine, and sets of them. Sets are numbers: bit n is node n.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseCpuList } from '../cpu/cpu-set.ts'

export type NumaMask = number

export interface NumaNode {
  id: number
  /** How far the nodes are from this one, by their ids; 10 is itself. */
  distances: ReadonlyMap<number, number>
  /** Bytes of memory, and of huge pages by Kubernetes' names (`hugepages-2Mi`). */
  memory: Readonly<Record<string, bigint>>
}

/** Nodes above cannot be in a set. */
const highest = 30

/** @throws RangeError for a node that no set can hold */
export function maskOf(ids: Iterable<number>): NumaMask {
  let mask = 0
  for (const id of ids) {
    if (id < 0 || id > highest) throw new RangeError(`NUMA node ${id}: only nodes 0 to ${highest} are supported`)
    mask |= 1 << id
  }
  return mask
}

export const idsOf = (mask: NumaMask): number[] =>
  Array.from({ length: highest + 1 }, (_, id) => id).filter((id) => (mask & (1 << id)) !== 0)

export function sizeOf(mask: NumaMask): number {
  let size = 0
  for (let left = mask; left !== 0; left &= left - 1) size++
  return size
}

/** All sets of these nodes but the empty one, small ones first. */
export function masksOf(ids: readonly number[]): NumaMask[] {
  const masks = Array.from({ length: 2 ** ids.length - 1 }, (_, index) =>
    maskOf(ids.filter((_id, at) => ((index + 1) & (1 << at)) !== 0)),
  )
  return masks.toSorted((a, b) => sizeOf(a) - sizeOf(b) || a - b)
}

/** The mean of the distances between all pairs of a set. */
export function meanDistance(nodes: readonly NumaNode[], mask: NumaMask): number {
  const ids = idsOf(mask)
  const pairs = ids.flatMap((from) =>
    ids.map((to) => nodes.find(({ id }) => id === from)?.distances.get(to) ?? (from === to ? 10 : 20)),
  )
  return pairs.reduce((sum, distance) => sum + distance, 0) / pairs.length
}

/** In order; one for a kernel without NUMA. @param sys the kernel's tree; default `/sys` */
export async function readNumaNodes(sys = '/sys', meminfo = '/proc/meminfo'): Promise<NumaNode[]> {
  const folder = join(sys, 'devices/system/node')
  const online = await textOf(join(folder, 'online'))
  if (online === undefined) {
    const memory = memoryIn((await textOf(meminfo)) ?? '', '')
    const pages = await hugePagesIn(join(sys, 'kernel/mm/hugepages'))
    return [{ id: 0, distances: new Map([[0, 10]]), memory: { memory, ...pages } }]
  }
  const ids = parseCpuList(online, 'NUMA nodes that are online')
  return Promise.all(
    ids.map(async (id) => {
      const own = join(folder, `node${id}`)
      const [distance = '', info = ''] = await Promise.all([
        textOf(join(own, 'distance')),
        textOf(join(own, 'meminfo')),
      ])
      const far = distance.split(/\s+/).filter(Boolean).map(Number)
      const distances = new Map(ids.map((to, at) => [to, far[at] ?? (to === id ? 10 : 20)]))
      const memory = { memory: memoryIn(info, `Node ${id} `), ...(await hugePagesIn(join(own, 'hugepages'))) }
      return { id, distances, memory }
    }),
  )
}

const memoryIn = (info: string, before: string): bigint =>
  BigInt(new RegExp(`^${before}MemTotal:\\s+(\\d+)`, 'm').exec(info)?.[1] ?? '0') * 1024n

/** Bytes of huge pages by size, of all sizes that the kernel has. */
export async function hugePagesIn(folder: string): Promise<Record<string, bigint>> {
  let names: string[] = []
  try {
    names = await readdir(folder)
  } catch (error) {
    // A kernel without huge pages.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const sizes = await Promise.all(
    names.map(async (name) => {
      const kib = BigInt(/^hugepages-(\d+)kB$/.exec(name)?.[1] ?? '0')
      const count = BigInt((await textOf(join(folder, name, 'nr_hugepages'))) || '0')
      return [hugePageName(kib * 1024n), count * kib * 1024n] as const
    }),
  )
  return Object.fromEntries(sizes.toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

/** `hugepages-2Mi` for 2 MiB. */
export function hugePageName(bytes: bigint): string {
  for (const [unit, size] of [
    ['Gi', 1n << 30n],
    ['Mi', 1n << 20n],
    ['Ki', 1n << 10n],
  ] as const) {
    if (bytes >= size && bytes % size === 0n) return `hugepages-${bytes / size}${unit}`
  }
  return `hugepages-${bytes}`
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
