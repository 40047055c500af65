// Lists of CPUs as the kernel writes them: `0-3,7`. Pure.

const longest = 8192

/** In order, each once. @throws RangeError naming the list that is none */
export function parseCpuList(list: string, field = 'list of CPUs'): number[] {
  const fail = (): never => {
    throw new RangeError(`${field} ${JSON.stringify(list)}: is no list of CPUs; write for instance 0-3,7`)
  }
  if (list.trim() === '') return []
  const cpus = list
    .trim()
    .split(',')
    .flatMap((part): number[] => {
      const [, first, last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part) ?? []
      const [from, to] = [Number(first), Number(last)]
      if (first === undefined || to < from || to >= longest) return fail()
      return Array.from({ length: to - from + 1 }, (_, index) => from + index)
    })
  return ordered(cpus)
}

export function formatCpuList(cpus: Iterable<number>): string {
  const runs: [number, number][] = []
  for (const cpu of ordered(cpus)) {
    const last = runs.at(-1)
    if (last && last[1] === cpu - 1) last[1] = cpu
    else runs.push([cpu, cpu])
  }
  return runs.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`)).join(',')
}

export const ordered = (cpus: Iterable<number>): number[] => [...new Set(cpus)].toSorted((a, b) => a - b)

export const without = (cpus: readonly number[], gone: Iterable<number>): number[] => {
  const left = new Set(gone)
  return cpus.filter((cpu) => !left.has(cpu))
}
