// The unified hierarchy.
import { watch } from 'node:fs'
import { join } from 'node:path'
import type { CgroupLimits, Cgroups } from './cgroup.ts'
import {
  childrenOf,
  deadline,
  folderOf,
  folderToRead,
  makeFolder,
  processesBelow,
  processesIn,
  put,
  read,
  readTable,
  removeBelow,
} from './cgroup-files.ts'
import { usageV2 } from './cgroup-usage.ts'
import { LinuxError } from './errors.ts'

const wanted = ['cpu', 'cpuset', 'memory', 'pids', 'io', 'hugetlb']

/** Shares 2…262144 as weight 1…10000, the way the kubelet turns them for pods. */
export const cpuWeight = (shares: number): number => 1 + Math.floor(((Math.max(2, shares) - 2) * 9999) / 262_142)

const orMax = (value: number): number | 'max' => (value < 0 ? 'max' : value)

export function openCgroupsV2(root: string): Cgroups {
  const at = (path: string): string => folderOf(root, path)

  const update = async (path: string, limits: CgroupLimits): Promise<void> => {
    const { cpuShares, cpuQuotaUs, cpuPeriodUs, memoryBytes, pids, cpus, memoryNodes, hugePages = {} } = limits
    const folder = at(path)
    if (cpuShares !== undefined) await put(folder, 'cpu.weight', cpuWeight(cpuShares))
    if (cpuQuotaUs !== undefined || cpuPeriodUs !== undefined) {
      const [quota = 'max', period = '100000'] = (await read(folder, 'cpu.max'))?.split(' ') ?? []
      await put(folder, 'cpu.max', `${cpuQuotaUs === undefined ? quota : orMax(cpuQuotaUs)} ${cpuPeriodUs ?? period}`)
    }
    if (memoryBytes !== undefined) await put(folder, 'memory.max', orMax(memoryBytes))
    if (pids !== undefined) await put(folder, 'pids.max', orMax(pids))
    if (cpus !== undefined) await put(folder, 'cpuset.cpus', cpus)
    if (memoryNodes !== undefined) await put(folder, 'cpuset.mems', memoryNodes)
    for (const [size, bytes] of Object.entries(hugePages)) {
      const file = `hugetlb.${size}.max`
      if ((await read(folder, file)) !== undefined) await put(folder, file, orMax(bytes))
    }
  }

  return {
    version: 2,
    async create(path, limits = {}) {
      at(path)
      let folder = root
      for (const part of path.split('/').filter((name) => name !== '')) {
        await delegate(folder)
        folder = join(folder, part)
        await makeFolder(folder)
      }
      await update(path, limits)
    },
    update,
    exists: async (path) => (await read(folderToRead(root, path), 'cgroup.procs')) !== undefined,
    children: async (path) => childrenOf(at(path)),
    processes: async (path) => processesBelow(at(path)),
    ownProcesses: async (path) => processesIn(folderToRead(root, path)),
    attach: async (path, pid) => put(at(path), 'cgroup.procs', pid),
    async freeze(path, signal) {
      await put(at(path), 'cgroup.freeze', 1)
      await happened(at(path), 'frozen', 1, deadline(signal))
    },
    thaw: async (path) => put(at(path), 'cgroup.freeze', 0),
    async kill(path, signal) {
      if ((await read(at(path), 'cgroup.procs')) === undefined) return
      await put(at(path), 'cgroup.kill', 1)
      await happened(at(path), 'populated', 0, deadline(signal))
    },
    remove: async (path, signal) => removeBelow(at(path), deadline(signal)),
    limitsSwap: async (path) => (await read(folderToRead(root, path), 'memory.swap.max')) !== undefined,
    stats: async (path) => usageV2(folderToRead(root, path)),
  }
}

/** Hands the controllers that a folder has to its children. */
async function delegate(folder: string): Promise<void> {
  const there = (await read(folder, 'cgroup.controllers'))?.split(' ') ?? []
  const given = (await read(folder, 'cgroup.subtree_control'))?.split(' ') ?? []
  const missing = wanted.filter((name) => there.includes(name) && !given.includes(name))
  if (missing.length > 0) await put(folder, 'cgroup.subtree_control', missing.map((name) => `+${name}`).join(' '))
}

/** Waits for a line of `cgroup.events`; the kernel notifies of changes to that file. */
async function happened(folder: string, key: string, value: number, signal: AbortSignal): Promise<void> {
  const changed = { wake: (): void => {} }
  const watcher = watch(join(folder, 'cgroup.events'), () => changed.wake())
  const end = (): void => changed.wake()
  signal.addEventListener('abort', end)
  try {
    for (;;) {
      const next = new Promise<void>((resolve) => (changed.wake = resolve))
      const table = await readTable(folder, 'cgroup.events')
      if (table.size === 0 || table.get(key) === value) return
      if (signal.aborted) throw new LinuxError('ETIMEDOUT', 'wait', `${folder}: ${key} is not ${value}`)
      await next
    }
  } finally {
    signal.removeEventListener('abort', end)
    watcher.close()
  }
}
