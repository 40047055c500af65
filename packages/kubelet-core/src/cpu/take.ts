// Which CPUs are taken for so many: whole sockets, whole NUMA nodes, whole cores, then single threads. Pure.
import { ordered } from './cpu-set.ts'
import type { Cpu } from './topology.ts'

type Place = 'socket' | 'node' | 'core'

/** Those of one place are together; the fullest last, so that others stay whole. */
function groups(free: readonly Cpu[], place: Place): Cpu[][] {
  const all = [...Map.groupBy(free, (cpu) => cpu[place]).values()]
  return all.toSorted((a, b) => a.length - b.length || (a[0]?.id ?? 0) - (b[0]?.id ?? 0))
}

/**
 * @param machine all CPUs
 * @param free those that may be taken
 * @returns undefined when there are not enough
 */
export function takeCpus(machine: readonly Cpu[], free: readonly number[], count: number): number[] | undefined {
  if (free.length < count) return undefined
  const able = new Set(free)
  const taken: number[] = []
  const left = (): Cpu[] => machine.filter(({ id }) => able.has(id))
  const take = (cpus: readonly Cpu[]): void => {
    for (const { id } of cpus) {
      taken.push(id)
      able.delete(id)
    }
  }
  const sizeOf = (place: Place, of: Cpu): number => machine.filter((cpu) => cpu[place] === of[place]).length
  const takeWhole = (place: Place): void => {
    const inOrder =
      place === 'core' ? groups(left(), 'socket').flatMap((socket) => groups(socket, 'core')) : groups(left(), place)
    for (const group of inOrder) {
      const [first] = group
      const isWhole = first !== undefined && group.length === sizeOf(place, first)
      if (isWhole && group.length <= count - taken.length) take(group)
    }
  }
  for (const place of ['socket', 'node', 'core'] as const) takeWhole(place)
  const threads = groups(left(), 'socket').flatMap((socket) => groups(socket, 'core').flat())
  take(threads.slice(0, count - taken.length))
  return ordered(taken)
}
