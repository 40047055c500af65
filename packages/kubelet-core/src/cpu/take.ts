// Which CPUs are taken for so many: whole sockets, whole NUMA nodes, whole cores, then single threads. Pure.
import { ordered } from './cpu-set.ts'
import { distribute } from './distribute.ts'
import type { Cpu } from './topology.ts'

/** How CPUs are chosen, by the options of the static policy. */
export interface TakeRules {
  /** `distribute-cpus-across-numa`: as many from each NUMA node as possible; in groups of so many, which stay together. */
  acrossNodes?: { groupSize: number } | undefined
  /** `distribute-cpus-across-cores`: one thread of each core before the second of any. */
  acrossCores?: boolean
  /** `prefer-align-cpus-by-uncorecache`: those that share a cache, where they suffice. */
  byCache?: boolean
}

type Place = 'socket' | 'node' | 'cache' | 'core'

/** Those of one place are together; the fullest last, so that others stay whole. */
export function groups(free: readonly Cpu[], place: Place): Cpu[][] {
  const all = [...Map.groupBy(free, (cpu) => cpu[place]).values()]
  return all.toSorted((a, b) => a.length - b.length || (a[0]?.id ?? 0) - (b[0]?.id ?? 0))
}

/**
 * @param machine all CPUs
 * @param free those that may be taken
 * @returns undefined when there are not enough
 */
export function takeCpus(
  machine: readonly Cpu[],
  free: readonly number[],
  count: number,
  rules: TakeRules = {},
): number[] | undefined {
  if (free.length < count) return undefined
  const able = new Set(free)
  const those = machine.filter(({ id }) => able.has(id))
  const { acrossNodes } = rules
  const parts = acrossNodes && count > 0 ? distribute(those, count, acrossNodes.groupSize) : undefined
  if (!parts) return ordered(pack(machine, those, count, rules))
  return ordered(
    [...parts].flatMap(([node, part]) =>
      pack(
        machine,
        those.filter((cpu) => cpu.node === node),
        part,
        rules,
      ),
    ),
  )
}

function pack(machine: readonly Cpu[], free: readonly Cpu[], count: number, rules: TakeRules): number[] {
  const taken = new Set<number>()
  const left = (): Cpu[] => free.filter(({ id }) => !taken.has(id))
  const missing = (): number => count - taken.size
  const take = (cpus: readonly Cpu[]): void => cpus.forEach(({ id }) => taken.add(id))
  const isWhole = (place: Place, [first, ...rest]: readonly Cpu[]): boolean =>
    first !== undefined && machine.filter((cpu) => cpu[place] === first[place]).length === rest.length + 1
  const takeWhole = (place: Place): void => {
    for (const group of inSockets(left(), place)) {
      if (group.length <= missing() && isWhole(place, group)) take(group)
    }
  }
  const few = (place: Place): number => new Set(machine.map((cpu) => cpu[place])).size
  // What is larger goes first: a socket may hold several nodes, or a node several sockets.
  for (const place of few('node') < few('socket') ? (['node', 'socket'] as const) : (['socket', 'node'] as const)) {
    takeWhole(place)
  }
  if (rules.byCache) {
    takeWhole('cache')
    const enough = missing() > 0 && groups(left(), 'cache').find((group) => group.length >= missing())
    if (enough) take(threadsOf(enough).slice(0, missing()))
  }
  if (rules.acrossCores) take(spread(left()).slice(0, missing()))
  takeWhole('core')
  take(threadsOf(left()).slice(0, missing()))
  return [...taken]
}

/** Cores of the fullest socket first; other places by themselves. */
const inSockets = (free: readonly Cpu[], place: Place): Cpu[][] =>
  place === 'core' ? groups(free, 'socket').flatMap((socket) => groups(socket, 'core')) : groups(free, place)

/** Threads of cores that are broken already come first, unless whole cores are to be filled. */
const threadsOf = (free: readonly Cpu[]): Cpu[] => inSockets(free, 'core').flat()

/** The first thread of each core, then the second ones. */
function spread(free: readonly Cpu[]): Cpu[] {
  const cores = inSockets(free, 'core')
  const most = Math.max(0, ...cores.map((core) => core.length))
  return Array.from({ length: most }, (_, index) => cores.flatMap((core) => core.slice(index, index + 1))).flat()
}
