// The v1 hierarchies: one folder per controller, all kept alike.
import { dirname, join } from 'node:path'
import type { CgroupLimits, Cgroups } from './cgroup.ts'
import {
  childrenOf,
  deadline,
  folderOf,
  folderToRead,
  killAll,
  makeFolder,
  pause,
  processesBelow,
  processesIn,
  put,
  read,
  removeBelow,
} from './cgroup-files.ts'
import { usageV1 } from './cgroup-usage.ts'
import { onMemoryThreshold } from './memory-threshold.ts'
import { LinuxError } from './errors.ts'

/** What we use, where it is there. By the last one systemd knows what belongs to a service, to end it. */
const used = ['cpu', 'cpuacct', 'cpuset', 'memory', 'pids', 'freezer', 'hugetlb', 'name=systemd']
/** Those that tell of use. */
const measured = ['cpu', 'cpuacct', 'memory', 'pids', 'blkio', 'hugetlb']

/**
 * @param mounts controller → where it is mounted
 * @param everywhere all mount points, also of hierarchies that we do not use: OCI runtimes make folders in each
 */
export function openCgroupsV1(mounts: ReadonlyMap<string, string>, everywhere: ReadonlySet<string>): Cgroups {
  const roots = new Map(
    used.flatMap((name): [string, string][] => (mounts.has(name) ? [[name, mounts.get(name) ?? '']] : [])),
  )
  const hierarchies = [...new Set(roots.values())]
  const at = (controller: string, path: string): string => {
    const root = roots.get(controller)
    if (root === undefined) throw new LinuxError('ENODEV', 'cgroup', `controller ${controller} is not mounted`)
    return folderOf(root, path)
  }
  /** Every process is in all hierarchies alike: any of them tells. This one is made first and removed last. */
  const sampled = roots.get('memory') ?? hierarchies[0] ?? ''
  const sample = (path: string): string => folderOf(sampled, path)

  const update = async (path: string, limits: CgroupLimits): Promise<void> => {
    const { cpuShares, cpuQuotaUs, cpuPeriodUs, memoryBytes, pids, cpus, memoryNodes, hugePages = {} } = limits
    if (cpuShares !== undefined) await put(at('cpu', path), 'cpu.shares', cpuShares)
    if (cpuPeriodUs !== undefined) await put(at('cpu', path), 'cpu.cfs_period_us', cpuPeriodUs)
    if (cpuQuotaUs !== undefined) await put(at('cpu', path), 'cpu.cfs_quota_us', cpuQuotaUs)
    if (memoryBytes !== undefined) await put(at('memory', path), 'memory.limit_in_bytes', memoryBytes)
    if (pids !== undefined) await put(at('pids', path), 'pids.max', pids < 0 ? 'max' : pids)
    if (cpus !== undefined) await put(at('cpuset', path), 'cpuset.cpus', cpus)
    if (memoryNodes !== undefined) await put(at('cpuset', path), 'cpuset.mems', memoryNodes)
    if (!roots.has('hugetlb')) return
    for (const [size, bytes] of Object.entries(hugePages)) {
      await put(at('hugetlb', path), `hugetlb.${size}.limit_in_bytes`, bytes)
    }
  }

  return {
    version: 1,
    async create(path, limits = {}) {
      await makeFolder(sample(path))
      const make = async (root: string): Promise<void> =>
        makeFolder(folderOf(root, path), root === roots.get('cpuset') ? inheritCpuset : undefined)
      await Promise.all(hierarchies.map(make))
      await update(path, limits)
    },
    update,
    exists: async (path) => (await read(folderToRead(sampled, path), 'cgroup.procs')) !== undefined,
    children: async (path) => childrenOf(sample(path)),
    processes: async (path) => processesBelow(sample(path)),
    ownProcesses: async (path) => processesIn(folderToRead(sampled, path)),
    async attach(path, pid) {
      for (const root of hierarchies) await put(folderOf(root, path), 'cgroup.procs', pid)
    },
    async freeze(path, signal) {
      const folder = at('freezer', path)
      await put(folder, 'freezer.state', 'FROZEN')
      for (const limit = deadline(signal); (await read(folder, 'freezer.state')) === 'FREEZING';) {
        if (limit.aborted) throw new LinuxError('ETIMEDOUT', 'freeze', folder)
        await pause()
      }
    },
    thaw: async (path) => put(at('freezer', path), 'freezer.state', 'THAWED'),
    async kill(path, signal) {
      const limit = deadline(signal)
      const folder = sample(path)
      for (let alive = await processesBelow(folder); alive.length > 0; alive = await processesBelow(folder)) {
        if (limit.aborted) throw new LinuxError('ETIMEDOUT', 'kill', `${folder}: ${alive.join(', ')} still there`)
        killAll(alive)
        if (roots.has('freezer')) await thawBelow(at('freezer', path)) // the frozen do not die
        await pause()
      }
    },
    async remove(path, signal) {
      const limit = deadline(signal)
      const last = sample(path)
      const others = [...everywhere].map((root) => folderOf(root, path)).filter((folder) => folder !== last)
      await Promise.all(others.map(async (folder) => removeBelow(folder, limit)))
      await removeBelow(last, limit)
    },
    ...(roots.has('memory') && {
      onMemoryUsage: async (path, bytes, crossed) => onMemoryThreshold(folderToRead(sampled, path), bytes, crossed),
    }),
    limitsSwap: async (path) => (await read(folderToRead(sampled, path), 'memory.memsw.limit_in_bytes')) !== undefined,
    stats: async (path) => {
      const folders = measured.flatMap((name): [string, string][] => {
        const root = mounts.get(name)
        return root === undefined ? [] : [[name, folderToRead(root, path)]]
      })
      return usageV1(new Map(folders))
    },
  }
}

/** A cgroup below may be frozen by itself. */
async function thawBelow(folder: string): Promise<void> {
  await put(folder, 'freezer.state', 'THAWED')
  for (const name of await childrenOf(folder)) await thawBelow(join(folder, name))
}

/** A new cpuset is empty and takes no process until it has CPUs and memory nodes. */
async function inheritCpuset(folder: string, parent: string): Promise<void> {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (await read(folder, file)) continue
    // Another call may have made the parent and be about to fill it.
    if ((await read(parent, file)) === '') await inheritCpuset(parent, dirname(parent))
    await put(folder, file, (await read(parent, file)) ?? '')
  }
}
