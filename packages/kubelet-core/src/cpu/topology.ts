// Which CPUs a machine has, and how they lie together.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseCpuList } from './cpu-set.ts'

export interface Cpu {
  id: number
  /** Of the machine: CPUs of one core are its threads. */
  core: string
  /** The last cache before memory, which its CPUs share; without one the CPUs of a socket are together. */
  cache: string
  socket: number
  /** NUMA node. */
  node: number
}

/** The CPUs that are online, in order. @param sys the kernel's tree; default `/sys` */
export async function readCpus(sys = '/sys'): Promise<Cpu[]> {
  const base = join(sys, 'devices/system')
  const online = parseCpuList(await text(join(base, 'cpu/online')), 'CPUs that are online')
  const nodeOf = await readNodes(join(base, 'node'))
  return Promise.all(
    online.map(async (id) => {
      const folder = join(base, `cpu/cpu${id}`)
      const [core, socket, cache] = await Promise.all([
        number(join(folder, 'topology/core_id')),
        number(join(folder, 'topology/physical_package_id')),
        text(join(folder, 'cache/index3/id')).catch(() => ''), // small machines have none
      ])
      // Some virtual machines say -1 for what they do not know.
      const at = Math.max(0, socket)
      const shared = cache === '' ? `socket ${at}` : cache
      return { id, core: `${at}/${core < 0 ? `cpu${id}` : core}`, cache: shared, socket: at, node: nodeOf.get(id) ?? 0 }
    }),
  )
}

async function readNodes(folder: string): Promise<Map<number, number>> {
  const nodes = new Map<number, number>()
  let names: string[] = []
  try {
    names = await readdir(folder)
  } catch (error) {
    // A kernel without NUMA: one node has all.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  for (const name of names) {
    const [, node] = /^node(\d+)$/.exec(name) ?? []
    if (node === undefined) continue
    for (const cpu of parseCpuList(await text(join(folder, name, 'cpulist')))) nodes.set(cpu, Number(node))
  }
  return nodes
}

const text = async (path: string): Promise<string> => (await readFile(path, 'utf8')).trim()
const number = async (path: string): Promise<number> => Number(await text(path))
