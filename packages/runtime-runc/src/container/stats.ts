// What containers and pods use, from their cgroups, as CRI shows it.
import { CpuUsage, FilesystemUsage, IoUsage, MemoryUsage, NetworkUsage, SwapUsage } from '@nodelet/cri-api'
import type { ContainerAttributes, ContainerStats, LinuxPodSandboxStats, PsiData, PsiStats } from '@nodelet/cri-api'
import { ContainerStats as ContainerStatsMessage, LinuxPodSandboxStats as PodStatsMessage } from '@nodelet/cri-api'
import type { CgroupPressure, Cgroups, CgroupStats } from '@nodelet/linux'
import type { DiskUsage } from '../snapshot/disk-usage.ts'

/** One reading is shared by all who ask within so many milliseconds. */
const SHARE_MS = 1000

export interface Sample {
  /** Nanoseconds since the epoch. */
  at: bigint
  stats: CgroupStats
  /** Billionths of a CPU since the reading before; absent on the first. */
  rate?: bigint
}

/** Reads cgroups, and knows the reading before. */
export interface StatsReader {
  /** Usage of a cgroup that may have gone: then it is empty. */
  read(cgroup: string): Promise<Sample>
  /** Forgets the cgroups that are not among these. */
  keepOnly(cgroups: ReadonlySet<string>): void
}

export function createStatsReader(cgroups: Cgroups): StatsReader {
  const last = new Map<string, Promise<Sample>>()
  const take = async (cgroup: string, before: Sample | undefined): Promise<Sample> => {
    const stats = await cgroups.stats(cgroup)
    const at = BigInt(Date.now()) * 1_000_000n
    return { at, stats, ...rateOf(before, { at, stats }) }
  }
  return {
    read: async (cgroup) => {
      const before = await last.get(cgroup)
      if (before && Date.now() - Number(before.at / 1_000_000n) < SHARE_MS) return before
      const reading = take(cgroup, before)
      last.set(cgroup, reading)
      reading.catch(() => last.delete(cgroup)) // told to whoever asked
      return reading
    },
    keepOnly: (kept) => {
      for (const cgroup of last.keys()) if (!kept.has(cgroup)) last.delete(cgroup)
    },
  }
}

/** Billionths of a CPU between two readings; none when the counter began anew. */
export function rateOf(before: Sample | undefined, { at, stats }: Sample): { rate?: bigint } {
  const [from, to] = [before?.stats.cpu?.usageNs, stats.cpu?.usageNs]
  if (!before || from === undefined || to === undefined || to < from || at <= before.at) return {}
  return { rate: ((to - from) * 1_000_000_000n) / (at - before.at) }
}

/** What a container wrote, and on which file system. */
export interface Written {
  mountpoint: string
  usage: DiskUsage
}

/** What ContainerStats answers; a container that does not run uses the disk alone. */
export function containerStatsOf(attributes: ContainerAttributes, sample?: Sample, written?: Written): ContainerStats {
  return ContainerStatsMessage.fromPartial({
    attributes,
    ...(sample && { ...usageOf(sample), ...swapOf(sample) }),
    ...(written && {
      writableLayer: FilesystemUsage.fromPartial({
        timestamp: BigInt(written.usage.at) * 1_000_000n,
        fsId: { mountpoint: written.mountpoint },
        usedBytes: { value: BigInt(written.usage.bytes) },
        inodesUsed: { value: BigInt(written.usage.inodes) },
      }),
    }),
  })
}

/** What PodSandboxStats answers of the pod's cgroup, its containers and its network. */
export function podStatsOf(sample: Sample, containers: ContainerStats[], devices?: string): LinuxPodSandboxStats {
  const { pids } = sample.stats
  return PodStatsMessage.fromPartial({
    ...usageOf(sample),
    containers,
    ...(devices === undefined ? {} : { network: networkUsageOf(devices, sample.at) }),
    ...(pids && { process: { timestamp: sample.at, processCount: { value: BigInt(pids.current) } } }),
  })
}

/** Reads the text of /proc/net/dev; `lo` is left out. */
export function networkUsageOf(text: string, timestamp: bigint): NetworkUsage {
  const interfaces = text.split('\n').flatMap((line) => {
    const [, name = '', counters = ''] = /^\s*([^:\s]+):\s*(.*)$/.exec(line) ?? []
    const fields = counters.trim().split(/\s+/)
    if (name === '' || name === 'lo' || fields.length < 11) return []
    const counter = (index: number): { value: bigint } => ({ value: BigInt(fields[index] ?? 0) })
    return [{ name, rxBytes: counter(0), rxErrors: counter(2), txBytes: counter(8), txErrors: counter(10) }]
  })
  const defaultInterface = interfaces.find(({ name }) => name === 'eth0')
  return NetworkUsage.fromPartial({ timestamp, interfaces, ...(defaultInterface && { defaultInterface }) })
}

const value = (number: number): { value: bigint } => ({ value: BigInt(number) })

function usageOf({ at, stats: { cpu, memory, io }, rate }: Sample): {
  cpu?: CpuUsage
  memory?: MemoryUsage
  io?: IoUsage
} {
  return {
    ...(cpu && {
      cpu: CpuUsage.fromPartial({
        timestamp: at,
        usageCoreNanoSeconds: { value: cpu.usageNs },
        ...(rate === undefined ? {} : { usageNanoCores: { value: rate } }),
        ...psiOf(cpu.pressure),
      }),
    }),
    ...(memory && {
      memory: MemoryUsage.fromPartial({
        timestamp: at,
        workingSetBytes: value(memory.workingSet),
        usageBytes: value(memory.usage),
        rssBytes: value(memory.rss),
        pageFaults: value(memory.pageFaults),
        majorPageFaults: value(memory.majorPageFaults),
        ...(memory.limit === undefined ? {} : { availableBytes: value(Math.max(0, memory.limit - memory.workingSet)) }),
        ...psiOf(memory.pressure),
      }),
    }),
    ...(io?.pressure && { io: IoUsage.fromPartial({ timestamp: at, ...psiOf(io.pressure) }) }),
  }
}

function swapOf({ at, stats: { memory } }: Sample): { swap?: SwapUsage } {
  if (memory?.swap === undefined) return {}
  const { swap, swapLimit } = memory
  return {
    swap: SwapUsage.fromPartial({
      timestamp: at,
      swapUsageBytes: value(swap),
      ...(swapLimit === undefined ? {} : { swapAvailableBytes: value(Math.max(0, swapLimit - swap)) }),
    }),
  }
}

function psiOf(pressure: CgroupPressure | undefined): { psi?: PsiStats } {
  if (!pressure) return {}
  const data = ({ totalNs, avg10, avg60, avg300 }: CgroupPressure['some']): PsiData => ({
    Total: totalNs,
    Avg10: avg10,
    Avg60: avg60,
    Avg300: avg300,
  })
  return { psi: { Full: data(pressure.full), Some: data(pressure.some) } }
}
