// The node's part of the summary.
import { readFile } from 'node:fs/promises'
import { uptime } from 'node:os'
import type { CgroupPressure, Cgroups, CgroupStats } from '@nodelet/linux'
import type { DiskUsage, NodeUsage } from '../eviction/usage.ts'
import { apiTime } from '../pod/time.ts'
import type { CpuRates } from './rates.ts'
import type {
  ContainerJson,
  CpuJson,
  FsJson,
  InterfaceJson,
  MemoryJson,
  NetworkJson,
  NodeJson,
  Psi,
} from './summary-types.ts'

export interface NodeSummaryOptions {
  nodeName: string
  cgroups: Pick<Cgroups, 'stats' | 'exists'>
  /** Of all pods, for instance `/kubepods`. */
  podsCgroup: string
  rates: CpuRates
  /** When this kubelet started, in milliseconds since the epoch. */
  startedMs: number
}

/** @param brief cpu and memory alone */
export async function nodeJson(options: NodeSummaryOptions, usage: NodeUsage, brief: boolean): Promise<NodeJson> {
  const { nodeName, cgroups, podsCgroup, rates, startedMs } = options
  const { timeMs } = usage
  const [root, pods, own, network] = await Promise.all([
    cgroups.stats('/'),
    statsOf(cgroups, podsCgroup),
    ownStats(timeMs, startedMs, rates),
    readNetwork(timeMs),
  ])
  const bootMs = timeMs - uptime() * 1000
  const used = usage.memory.capacityBytes - usage.memory.availableBytes
  const memory: MemoryJson = {
    usageBytes: Number(used),
    ...memoryOf(root, timeMs),
    availableBytes: Number(usage.memory.availableBytes),
    workingSetBytes: Number(used),
  }
  const podsJson: ContainerJson[] = pods
    ? [
        {
          name: 'pods',
          startTime: apiTime(bootMs),
          ...cpuOf('pods', pods, timeMs, rates),
          memory: memoryOf(pods, timeMs),
        },
      ]
    : []
  const base: NodeJson = {
    nodeName,
    systemContainers: [own, ...podsJson],
    startTime: apiTime(bootMs),
    ...cpuOf('node', root, timeMs, rates),
    memory,
    ...(await swapOf(timeMs)),
  }
  if (brief) return base
  const imageFs = wholeFs(timeMs, usage.imagefs ?? usage.nodefs)
  return {
    ...base,
    network,
    fs: wholeFs(timeMs, usage.nodefs),
    runtime: { imageFs, containerFs: imageFs },
    ...(usage.pids && {
      rlimit: { time: apiTime(timeMs), maxpid: Number(usage.pids.max), curproc: Number(usage.pids.running) },
    }),
  }
}

async function statsOf(cgroups: NodeSummaryOptions['cgroups'], path: string): Promise<CgroupStats | undefined> {
  return (await cgroups.exists(path)) ? cgroups.stats(path) : undefined
}

function cpuOf(key: string, { cpu }: CgroupStats, timeMs: number, rates: CpuRates): { cpu?: CpuJson } {
  if (!cpu) return {}
  const rate = rates.rate(`/${key}`, BigInt(Math.round(timeMs)) * 1_000_000n, cpu.usageNs)
  return {
    cpu: {
      time: apiTime(timeMs),
      ...(rate !== undefined && { usageNanoCores: Number(rate) }),
      usageCoreNanoSeconds: Number(cpu.usageNs),
      ...psiOf(cpu.pressure),
    },
  }
}

function psiOf(pressure: CgroupPressure | undefined): { psi?: Psi } {
  if (!pressure) return {}
  const one = ({ totalNs, avg10, avg60, avg300 }: CgroupPressure['some']) => ({
    total: Number(totalNs),
    avg10,
    avg60,
    avg300,
  })
  return { psi: { full: one(pressure.full), some: one(pressure.some) } }
}

function memoryOf({ memory }: CgroupStats, timeMs: number): MemoryJson {
  const time = apiTime(timeMs)
  if (!memory) return { time }
  const { usage, workingSet, rss, pageFaults, majorPageFaults, limit } = memory
  return {
    time,
    ...(limit !== undefined && { availableBytes: Math.max(0, limit - workingSet) }),
    usageBytes: usage,
    workingSetBytes: workingSet,
    rssBytes: rss,
    pageFaults,
    majorPageFaults,
    ...psiOf(memory.pressure),
  }
}

/** This process: it may share its cgroup with others. */
async function ownStats(timeMs: number, startedMs: number, rates: CpuRates): Promise<ContainerJson> {
  const { user, system } = process.cpuUsage()
  const usageNs = BigInt(user + system) * 1000n
  const rate = rates.rate('/kubelet', BigInt(Math.round(timeMs)) * 1_000_000n, usageNs)
  const rss = process.memoryUsage.rss()
  const time = apiTime(timeMs)
  return {
    name: 'kubelet',
    startTime: apiTime(startedMs),
    cpu: { time, ...(rate !== undefined && { usageNanoCores: Number(rate) }), usageCoreNanoSeconds: Number(usageNs) },
    memory: { time, usageBytes: rss, workingSetBytes: rss, rssBytes: rss },
  }
}

function wholeFs(timeMs: number, { capacityBytes, availableBytes, inodes, inodesFree }: DiskUsage): FsJson {
  return {
    time: apiTime(timeMs),
    availableBytes: Number(availableBytes),
    capacityBytes: Number(capacityBytes),
    usedBytes: Number(capacityBytes - availableBytes),
    inodesFree: Number(inodesFree),
    inodes: Number(inodes),
    inodesUsed: Number(inodes - inodesFree),
  }
}

/** All links but loopback; the one of the default route first. */
async function readNetwork(timeMs: number): Promise<NetworkJson> {
  const [devices, routes] = await Promise.all([readFile('/proc/net/dev', 'utf8'), readFile('/proc/net/route', 'utf8')])
  const main = routes
    .split('\n')
    .map((line) => line.split('\t'))
    .find(([, target]) => target === '00000000')?.[0]
  const links = devices
    .split('\n')
    .slice(2)
    .flatMap((line): InterfaceJson[] => {
      const [, name, rest] = /^\s*([^:]+):\s*(.*)$/.exec(line) ?? []
      if (name === undefined || name === 'lo') return []
      const figures = (rest ?? '').split(/\s+/).map(Number)
      const [rxBytes = 0, , rxErrors = 0, , , , , , txBytes = 0, , txErrors = 0] = figures
      return [{ name, rxBytes, rxErrors, txBytes, txErrors }]
    })
  const interfaces = links.toSorted((a, b) => Number(b.name === main) - Number(a.name === main))
  return { time: apiTime(timeMs), ...(interfaces[0]?.name === main && interfaces[0]), interfaces }
}

async function swapOf(timeMs: number): Promise<Pick<NodeJson, 'swap'>> {
  const meminfo = await readFile('/proc/meminfo', 'utf8')
  const bytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1] ?? 0) * 1024
  const [total, free] = [bytes('SwapTotal'), bytes('SwapFree')]
  return { swap: { time: apiTime(timeMs), swapAvailableBytes: free, swapUsageBytes: total - free } }
}
