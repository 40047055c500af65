// What cgroups use, from the files of either hierarchy. These files are made up by the kernel on each reading: a plain
// read takes some microseconds, a turn on another thread would take a hundred times that.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CgroupDevice, CgroupPressure, CgroupStats, HugePages } from './cgroup.ts'
import { LinuxError } from './errors.ts'

/** The kernel says "no limit" with 2⁶³ rounded down to a page. */
const unlimited = 2 ** 62

/** Undefined when there is no such file, or its cgroup has gone, or the kernel does not do this now. */
export function readNow(folder: string, file: string): string | undefined {
  try {
    return readFileSync(join(folder, file), 'utf8').trim()
  } catch (error) {
    const { code = 'EIO' } = error as NodeJS.ErrnoException
    if (['ENOENT', 'ENODEV', 'ENOTDIR', 'EOPNOTSUPP'].includes(code)) return undefined
    throw new LinuxError(code, 'read', join(folder, file))
  }
}

function numberIn(folder: string, file: string): number | undefined {
  const text = readNow(folder, file)
  return text === undefined || text === 'max' ? undefined : Number(text)
}

/** Files of lines `key number`. */
function tableIn(folder: string, file: string): Map<string, number> {
  const lines = readNow(folder, file)?.split('\n') ?? []
  return new Map(lines.map((line) => line.split(' ')).map(([key = '', value]) => [key, Number(value)]))
}

/** Leaves out what is not known. */
function known<T extends object>(values: { [Key in keyof T]: T[Key] | undefined }): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T
}

const milliseconds = 1_000_000n
/** USER_HZ, which is 100 on every architecture that we run on. */
const ticks = 10n * milliseconds

/** @param folders of the controllers that are mounted */
export function usageV1(folders: ReadonlyMap<string, string>): CgroupStats {
  const at = (name: string): string | undefined => folders.get(name)
  const [accounting, cpu, memory, pids, hugetlb] = [at('cpuacct'), at('cpu'), at('memory'), at('pids'), at('hugetlb')]
  const blkio = at('blkio')
  return known<CgroupStats>({
    cpu: accounting === undefined ? undefined : cpuV1(accounting, cpu),
    memory: memory === undefined ? undefined : memoryV1(memory),
    pids: pids === undefined ? undefined : pidsIn(pids),
    io: blkio === undefined ? undefined : { devices: devicesV1(blkio) },
    hugePages: hugetlb === undefined ? undefined : hugePagesIn(hugetlb, 'usage_in_bytes', 'max_usage_in_bytes'),
  })
}

export function usageV2(folder: string): CgroupStats {
  const io = ioV2(folder)
  return known<CgroupStats>({
    cpu: cpuV2(folder),
    memory: memoryV2(folder),
    pids: pidsIn(folder),
    io,
    hugePages: hugePagesIn(folder, 'current', undefined),
  })
}

function cpuV1(accounting: string, cpu: string | undefined): CgroupStats['cpu'] {
  const usage = readNow(accounting, 'cpuacct.usage')
  if (usage === undefined) return undefined
  const times = tableIn(accounting, 'cpuacct.stat')
  const table = cpu === undefined ? new Map<string, number>() : tableIn(cpu, 'cpu.stat')
  return {
    usageNs: BigInt(usage),
    userNs: BigInt(times.get('user') ?? 0) * ticks,
    systemNs: BigInt(times.get('system') ?? 0) * ticks,
    periods: table.get('nr_periods') ?? 0,
    throttledPeriods: table.get('nr_throttled') ?? 0,
    throttledNs: BigInt(table.get('throttled_time') ?? 0),
  }
}

function cpuV2(folder: string): CgroupStats['cpu'] {
  const table = tableIn(folder, 'cpu.stat')
  const usage = table.get('usage_usec')
  if (usage === undefined) return undefined
  const time = (key: string): bigint => BigInt(table.get(key) ?? 0) * 1000n
  const pressure = pressureIn(folder, 'cpu.pressure')
  return {
    usageNs: BigInt(usage) * 1000n,
    userNs: time('user_usec'),
    systemNs: time('system_usec'),
    periods: table.get('nr_periods') ?? 0,
    throttledPeriods: table.get('nr_throttled') ?? 0,
    throttledNs: time('throttled_usec'),
    ...(pressure && { pressure }),
  }
}

function memoryV1(folder: string): CgroupStats['memory'] {
  const usage = numberIn(folder, 'memory.usage_in_bytes')
  if (usage === undefined) return undefined
  const table = tableIn(folder, 'memory.stat')
  const get = (key: string): number => table.get(key) ?? 0
  const limitIn = (file: string): number | undefined => {
    const value = numberIn(folder, file)
    return value !== undefined && value < unlimited ? value : undefined
  }
  const both = numberIn(folder, 'memory.memsw.usage_in_bytes')
  const bothLimit = limitIn('memory.memsw.limit_in_bytes')
  const limit = limitIn('memory.limit_in_bytes')
  return known<NonNullable<CgroupStats['memory']>>({
    usage,
    workingSet: Math.max(0, usage - get('total_inactive_file')),
    rss: get('total_rss'),
    cache: get('total_cache'),
    mappedFile: get('total_mapped_file'),
    activeFile: get('total_active_file'),
    inactiveFile: get('total_inactive_file'),
    kernel: numberIn(folder, 'memory.kmem.usage_in_bytes'),
    pageFaults: get('total_pgfault'),
    majorPageFaults: get('total_pgmajfault'),
    own: { pageFaults: get('pgfault'), majorPageFaults: get('pgmajfault') },
    limit,
    reservation: limitIn('memory.soft_limit_in_bytes'),
    maxUsage: numberIn(folder, 'memory.max_usage_in_bytes'),
    limitHits: numberIn(folder, 'memory.failcnt'),
    swap: both === undefined ? undefined : Math.max(0, both - usage),
    swapLimit: bothLimit === undefined || limit === undefined ? undefined : Math.max(0, bothLimit - limit),
    oomKills: tableIn(folder, 'memory.oom_control').get('oom_kill') ?? 0,
    pressure: undefined,
  })
}

function memoryV2(folder: string): CgroupStats['memory'] {
  const usage = numberIn(folder, 'memory.current')
  if (usage === undefined) return undefined
  const table = tableIn(folder, 'memory.stat')
  const get = (key: string): number => table.get(key) ?? 0
  const events = tableIn(folder, 'memory.events')
  const own = { pageFaults: get('pgfault'), majorPageFaults: get('pgmajfault') }
  return known<NonNullable<CgroupStats['memory']>>({
    usage,
    workingSet: Math.max(0, usage - get('inactive_file')),
    rss: get('anon'),
    cache: get('file'),
    mappedFile: get('file_mapped'),
    activeFile: get('active_file'),
    inactiveFile: get('inactive_file'),
    kernel: table.get('kernel'),
    ...own,
    own,
    limit: numberIn(folder, 'memory.max'),
    reservation: numberIn(folder, 'memory.low'),
    maxUsage: numberIn(folder, 'memory.peak'),
    limitHits: events.get('max'),
    swap: numberIn(folder, 'memory.swap.current'),
    swapLimit: numberIn(folder, 'memory.swap.max'),
    oomKills: events.get('oom_kill') ?? 0,
    pressure: pressureIn(folder, 'memory.pressure'),
  })
}

function pidsIn(folder: string): CgroupStats['pids'] {
  const current = numberIn(folder, 'pids.current')
  if (current === undefined) return undefined
  const limit = numberIn(folder, 'pids.max')
  return { current, ...(limit !== undefined && { limit }) }
}

/** Lines `8:0 Read 4096` of two files, the bytes and the operations. */
function devicesV1(folder: string): CgroupDevice[] {
  const bytes = operationsIn(folder, 'blkio.throttle.io_service_bytes_recursive', 'blkio.throttle.io_service_bytes')
  const operations = operationsIn(folder, 'blkio.throttle.io_serviced_recursive', 'blkio.throttle.io_serviced')
  return [...bytes].map(([device, amounts]) => ({
    ...deviceOf(device),
    readBytes: amounts.get('Read') ?? 0,
    writtenBytes: amounts.get('Write') ?? 0,
    reads: operations.get(device)?.get('Read') ?? 0,
    writes: operations.get(device)?.get('Write') ?? 0,
  }))
}

function operationsIn(folder: string, ...files: readonly string[]): Map<string, Map<string, number>> {
  const found = new Map<string, Map<string, number>>()
  const text = files.map((file) => readNow(folder, file)).find((one) => one !== undefined) ?? ''
  for (const line of text.split('\n')) {
    const [device = '', operation = '', amount] = line.split(' ')
    if (!device.includes(':')) continue
    const amounts = found.get(device) ?? new Map<string, number>()
    found.set(device, amounts.set(operation, Number(amount)))
  }
  return found
}

/** Lines `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 …`. */
function ioV2(folder: string): CgroupStats['io'] {
  const text = readNow(folder, 'io.stat')
  const pressure = pressureIn(folder, 'io.pressure')
  if (text === undefined && !pressure) return undefined
  const devices = (text ?? '').split('\n').flatMap((line): CgroupDevice[] => {
    const [device = '', ...pairs] = line.split(' ')
    if (!device.includes(':')) return []
    const values = new Map(pairs.map((pair) => pair.split('=')).map(([key = '', value]) => [key, Number(value)]))
    const get = (key: string): number => values.get(key) ?? 0
    const amounts = { readBytes: get('rbytes'), writtenBytes: get('wbytes'), reads: get('rios'), writes: get('wios') }
    return [{ ...deviceOf(device), ...amounts }]
  })
  return { devices, ...(pressure && { pressure }) }
}

function deviceOf(text: string): { major: number; minor: number } {
  const [major, minor] = text.split(':').map(Number)
  return { major: major ?? 0, minor: minor ?? 0 }
}

const pageSizes = ['64KB', '1MB', '2MB', '16MB', '32MB', '512MB', '1GB', '16GB']

function hugePagesIn(folder: string, usage: string, most: string | undefined): HugePages[] | undefined {
  const found = pageSizes.flatMap((pageSize): HugePages[] => {
    const used = numberIn(folder, `hugetlb.${pageSize}.${usage}`)
    const maxUsage = most === undefined ? undefined : numberIn(folder, `hugetlb.${pageSize}.${most}`)
    return used === undefined ? [] : [{ pageSize, usage: used, ...(maxUsage !== undefined && { maxUsage }) }]
  })
  return found.length > 0 ? found : undefined
}

/** Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`; absent when the kernel does not measure it. */
export function pressureIn(folder: string, file: string): CgroupPressure | undefined {
  const lines = readNow(folder, file)?.split('\n')
  if (!lines) return undefined
  const one = (kind: string): CgroupPressure['some'] => {
    const line = lines.find((text) => text.startsWith(`${kind} `)) ?? ''
    const get = (key: string): number => Number(new RegExp(`${key}=([\\d.]+)`).exec(line)?.[1] ?? 0)
    return { avg10: get('avg10'), avg60: get('avg60'), avg300: get('avg300'), totalNs: BigInt(get('total')) * 1000n }
  }
  return { some: one('some'), full: one('full') }
}
