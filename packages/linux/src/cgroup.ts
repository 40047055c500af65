// Control groups: one interface over the two hierarchies. Paths are absolute within the hierarchy, such as `/nodelet/pods`.
import { openCgroupsV1 } from './cgroup-v1.ts'
import { openCgroupsV2 } from './cgroup-v2.ts'
import { readMountInfo } from './mountinfo.ts'

/** What a cgroup may use. What is left out stays as it is; -1 takes a limit away. */
export interface CgroupLimits {
  /** 2 to 262144, 1024 being one share among equals; on v2 turned into `cpu.weight`. */
  cpuShares?: number
  /** Microseconds of CPU time per period. */
  cpuQuotaUs?: number
  /** Microseconds; default 100000. */
  cpuPeriodUs?: number
  memoryBytes?: number
  pids?: number
  /** For instance `0-3,8`. */
  cpus?: string
  memoryNodes?: string
  /** Page size as the kernel names it, such as `2MB` → bytes. Left out where the kernel does not count huge pages. */
  hugePages?: Readonly<Record<string, number>>
}

/** How much of the time some, or all, of the processes waited. @see Documentation/accounting/psi */
export interface CgroupPressure {
  some: { avg10: number; avg60: number; avg300: number; totalNs: bigint }
  full: { avg10: number; avg60: number; avg300: number; totalNs: bigint }
}

/** What went to and from a block device. */
export interface CgroupDevice {
  major: number
  minor: number
  readBytes: number
  writtenBytes: number
  reads: number
  writes: number
}

/** Huge pages of one size, such as `2MB`. */
export interface HugePages {
  pageSize: string
  usage: number
  maxUsage?: number
}

/** Use so far. Sizes in bytes, times in nanoseconds. What the kernel does not tell is left out. */
export interface CgroupStats {
  cpu?: {
    usageNs: bigint
    userNs: bigint
    systemNs: bigint
    periods: number
    throttledPeriods: number
    throttledNs: bigint
    pressure?: CgroupPressure
  }
  memory?: {
    usage: number
    /** Use without the page cache that could be dropped at once. */
    workingSet: number
    rss: number
    cache: number
    mappedFile: number
    activeFile: number
    inactiveFile: number
    kernel?: number
    pageFaults: number
    majorPageFaults: number
    /** The same without the cgroups below, where the kernel tells them apart. */
    own: { pageFaults: number; majorPageFaults: number }
    /** Absent when unlimited, as the others. */
    limit?: number
    reservation?: number
    maxUsage?: number
    /** How often the limit was hit. */
    limitHits?: number
    swap?: number
    swapLimit?: number
    /** Processes that the kernel killed here for want of memory. */
    oomKills: number
    pressure?: CgroupPressure
  }
  pids?: { current: number; limit?: number }
  io?: { devices: CgroupDevice[]; pressure?: CgroupPressure }
  hugePages?: HugePages[]
}

/** The cgroups of this machine. Refusals are LinuxErrors that name the file and the value. */
export interface Cgroups {
  readonly version: 1 | 2
  /** Makes a cgroup and its parents, and limits it; fine when it is there. */
  create(path: string, limits?: CgroupLimits): Promise<void>
  update(path: string, limits: CgroupLimits): Promise<void>
  /** `/` always does. */
  exists(path: string): Promise<boolean>
  /** Names of the cgroups directly below; none when there is no such cgroup. */
  children(path: string): Promise<string[]>
  /** Processes in it and below. */
  processes(path: string): Promise<number[]>
  /** Processes in it, without those below; of `/` too. */
  ownProcesses(path: string): Promise<number[]>
  /** Moves a process in. */
  attach(path: string, pid: number): Promise<void>
  /** Stops all processes in it and below, until {@link thaw}. */
  freeze(path: string, signal?: AbortSignal): Promise<void>
  thaw(path: string): Promise<void>
  /** Kills all processes in it and below, and waits until they are gone. */
  kill(path: string, signal?: AbortSignal): Promise<void>
  /** Removes it and all below, which must be empty; waits for processes that are just ending. Fine when there is none. */
  remove(path: string, signal?: AbortSignal): Promise<void>
  /**
   * Calls back when the use of memory, file pages included, rises above so many bytes, or falls below: of `/` too. Absent on
   * v2, where the kernel has no such event.
   */
  onMemoryUsage?(path: string, bytes: bigint, crossed: () => void): Promise<Disposable>
  /** Whether the kernel can limit the swap of this cgroup; never of the root of v2, nor of one that is not there. */
  limitsSwap(path: string): Promise<boolean>
  /** Of a cgroup and all below; `/` is the machine, of which the kernel tells less on v2. */
  stats(path: string): Promise<CgroupStats>
}

/**
 * Opens what the machine has mounted: v2 when it is the whole, else v1 with the controllers that are there.
 * @throws Error when no cgroup file system is mounted
 */
export async function openCgroups(): Promise<Cgroups> {
  const mounts = await readMountInfo()
  const v1 = new Map<string, string>()
  for (const { type, superOptions, mountPoint } of mounts) {
    if (type === 'cgroup') for (const controller of superOptions) v1.set(controller, mountPoint)
  }
  const unified = mounts.find(({ type }) => type === 'cgroup2')
  const all = new Set([...v1.values(), ...(unified ? [unified.mountPoint] : [])])
  if (v1.has('memory') || v1.has('cpu')) return openCgroupsV1(v1, all)
  if (unified) return openCgroupsV2(unified.mountPoint)
  throw new Error('no cgroup file system is mounted: mount cgroup2 on /sys/fs/cgroup')
}
