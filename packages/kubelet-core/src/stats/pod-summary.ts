// A pod's part of the summary. Pure.
import type { ContainerStats, CpuUsage, LinuxPodSandboxStats, MemoryUsage, PsiStats, SwapUsage } from '@nodelet/cri-api'
import type { DiskUsage } from '../eviction/usage.ts'
import { apiTime } from '../pod/time.ts'
import type { MeteredVolume } from '../storage/meter.ts'
import type { DiskUsed } from './disk-usage.ts'
import type { PodStats } from './pod-stats.ts'
import type { CpuRates } from './rates.ts'
import type {
  ContainerJson,
  CpuJson,
  FsJson,
  MemoryJson,
  NetworkJson,
  PodJson,
  Psi,
  SwapJson,
  VolumeJson,
} from './summary-types.ts'

export interface Disks {
  /** Of logs and volumes. */
  nodefs: DiskUsage
  /** Of images and writable layers. */
  imagefs: DiskUsage
}

const timeOf = (nanoseconds: bigint): string => apiTime(Number(nanoseconds / 1_000_000n))

/** What is set, as a number. */
function numbers<Key extends string>(values: Record<Key, { value: bigint } | undefined>): Partial<Record<Key, number>> {
  const set = Object.entries<{ value: bigint } | undefined>(values).flatMap(([key, value]) =>
    value ? [[key, Number(value.value)]] : [],
  )
  return Object.fromEntries(set) as Partial<Record<Key, number>>
}

export function psiJson(psi: PsiStats | undefined): { psi?: Psi } {
  if (!psi?.Full || !psi.Some) return {}
  const one = ({ Total, Avg10, Avg60, Avg300 }: NonNullable<PsiStats['Full']>) => ({
    total: Number(Total),
    avg10: Avg10,
    avg60: Avg60,
    avg300: Avg300,
  })
  return { psi: { full: one(psi.Full), some: one(psi.Some) } }
}

function cpuJson(key: string, cpu: CpuUsage | undefined, rates: CpuRates): { cpu?: CpuJson } {
  if (!cpu) return {}
  const used = cpu.usageCoreNanoSeconds?.value
  const rate = cpu.usageNanoCores?.value ?? (used === undefined ? undefined : rates.rate(key, cpu.timestamp, used))
  return {
    cpu: {
      time: timeOf(cpu.timestamp),
      ...(rate !== undefined && { usageNanoCores: Number(rate) }),
      ...(used !== undefined && { usageCoreNanoSeconds: Number(used) }),
      ...psiJson(cpu.psi),
    },
  }
}

function memoryJson(memory: MemoryUsage | undefined): { memory?: MemoryJson } {
  if (!memory) return {}
  const { availableBytes, usageBytes, workingSetBytes, rssBytes, pageFaults, majorPageFaults } = memory
  const figures = numbers({ availableBytes, usageBytes, workingSetBytes, rssBytes, pageFaults, majorPageFaults })
  return { memory: { time: timeOf(memory.timestamp), ...figures, ...psiJson(memory.psi) } }
}

function swapJson(swap: SwapUsage | undefined): { swap?: SwapJson } {
  if (!swap) return {}
  const { timestamp, swapAvailableBytes, swapUsageBytes } = swap
  return { swap: { time: timeOf(timestamp), ...numbers({ swapAvailableBytes, swapUsageBytes }) } }
}

/** Usage on a file system. */
export const fsJson = (timeMs: number, filesystem: DiskUsage, used: DiskUsed): FsJson => ({
  time: apiTime(timeMs),
  availableBytes: Number(filesystem.availableBytes),
  capacityBytes: Number(filesystem.capacityBytes),
  usedBytes: Number(used.bytes),
  inodesFree: Number(filesystem.inodesFree),
  inodes: Number(filesystem.inodes),
  inodesUsed: Number(used.inodes),
})

function containerJson(
  name: string,
  stats: ContainerStats,
  { pod, disk }: PodStats,
  disks: Disks,
  rates: CpuRates,
): ContainerJson {
  const { initContainerStatuses = [], containerStatuses = [] } = pod.status ?? {}
  const state = [...initContainerStatuses, ...containerStatuses].find((one) => one.name === name)?.state
  const { writableLayer } = stats
  const layer = { bytes: writableLayer?.usedBytes?.value ?? 0n, inodes: writableLayer?.inodesUsed?.value ?? 0n }
  const logs = disk.logs.get(name)
  return {
    name,
    startTime: state?.running?.startedAt ?? null,
    ...cpuJson(stats.attributes?.id ?? name, stats.cpu, rates),
    ...memoryJson(stats.memory),
    ...(stats.io && { io: { time: timeOf(stats.io.timestamp), ...psiJson(stats.io.psi) } }),
    rootfs: fsJson(disk.timeMs, disks.imagefs, layer),
    ...(logs && { logs: fsJson(disk.timeMs, disks.nodefs, logs) }),
    ...swapJson(stats.swap),
  }
}

function networkJson({ network }: LinuxPodSandboxStats): { network?: NetworkJson } {
  if (!network) return {}
  const one = ({ name, rxBytes, rxErrors, txBytes, txErrors }: NonNullable<typeof network.defaultInterface>) => ({
    name,
    ...numbers({ rxBytes, rxErrors, txBytes, txErrors }),
  })
  const { defaultInterface, interfaces, timestamp } = network
  const all = [...(defaultInterface ? [defaultInterface] : []), ...interfaces].map(one)
  return { network: { time: timeOf(timestamp), ...all[0], interfaces: all } }
}

/** Everything of the pod on the node's disks. */
function ephemeralJson({ containers, disk }: PodStats, nodefs: DiskUsage): FsJson {
  const layers = [...containers.values()].map(({ writableLayer: layer }) => ({
    bytes: layer?.usedBytes?.value ?? 0n,
    inodes: layer?.inodesUsed?.value ?? 0n,
  }))
  const volumes = [...disk.volumes.values()].filter(({ onDisk }) => onDisk)
  const used = { bytes: 0n, inodes: 0n }
  for (const { bytes, inodes } of [...layers, ...disk.logs.values(), ...volumes]) {
    used.bytes += bytes
    used.inodes += inodes
  }
  return fsJson(disk.timeMs, nodefs, used)
}

/** @param brief cpu and memory alone, as `?only_cpu_and_memory=true` asks */
export function podJson(stats: PodStats, disks: Disks, rates: CpuRates, brief: boolean): PodJson {
  const { pod, sandboxes, containers, disk, volumes } = stats
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {}
  const linux = sandboxes[0]?.linux
  const all = [...containers].map(([one, own]) => containerJson(one, own, stats, disks, rates))
  const base = {
    podRef: { name, namespace, uid },
    startTime: pod.status?.startTime ?? null,
    containers: brief
      ? all.map(({ name: own, startTime, cpu, memory, swap }) => compact({ name: own, startTime, cpu, memory, swap }))
      : all,
    ...cpuJson(uid, linux?.cpu, rates),
    ...memoryJson(linux?.memory),
    ...podSwap(all),
  }
  if (brief) return base
  const kept = [...disk.volumes].map(([own, used]) => ({ ...fsJson(disk.timeMs, used.filesystem, used), name: own }))
  const volume: VolumeJson[] = [...kept, ...volumes.map(volumeJson)]
  const count = linux?.process?.processCount?.value
  return {
    ...base,
    ...(linux?.io && { io: { time: timeOf(linux.io.timestamp), ...psiJson(linux.io.psi) } }),
    ...(linux && networkJson(linux)),
    ...(volume.length > 0 && { volume }),
    'ephemeral-storage': ephemeralJson(stats, disks.nodefs),
    ...(count !== undefined && { process_stats: { process_count: Number(count) } }),
  }
}

/** One that tells of itself: what it does not tell is left out. */
export function volumeJson({ name, claim, timeMs, stats }: MeteredVolume): VolumeJson {
  const { bytes, inodes, condition } = stats
  return {
    time: apiTime(timeMs),
    ...(bytes?.available !== undefined && { availableBytes: bytes.available }),
    ...(bytes?.total !== undefined && { capacityBytes: bytes.total }),
    ...(bytes?.used !== undefined && { usedBytes: bytes.used }),
    ...(inodes && { inodesFree: inodes.available, inodes: inodes.total, inodesUsed: inodes.used }),
    name,
    ...(claim && { pvcRef: claim }),
    ...(condition && { volumeHealthStats: { abnormal: condition.abnormal } }),
  }
}

/** That of its containers together, as far as they tell. */
function podSwap(containers: readonly ContainerJson[]): Pick<PodJson, 'swap'> {
  const told = containers.flatMap(({ swap }) => swap ?? [])
  const [first] = told
  if (!first) return {}
  const sum = (field: 'swapUsageBytes' | 'swapAvailableBytes'): number =>
    told.reduce((total, swap) => total + (swap[field] ?? 0), 0)
  return {
    swap: { time: first.time, swapAvailableBytes: sum('swapAvailableBytes'), swapUsageBytes: sum('swapUsageBytes') },
  }
}

/** Without what is undefined. */
function compact(
  container: ContainerJson | { [Key in keyof ContainerJson]: ContainerJson[Key] | undefined },
): ContainerJson {
  return Object.fromEntries(
    Object.entries(container).filter(([, value]) => value !== undefined),
  ) as unknown as ContainerJson
}
