// The metrics that we give, with the names and labels that cAdvisor gave them. Pure.
import type { CgroupDevice, CgroupPressure } from '@nodelet/linux'
import type { LinkCounters } from './links.ts'
import type { Subject } from './subject.ts'

/** One number of a metric: the values of its own labels, and the number, which must not be negative. */
export type Reading = readonly [labels: readonly string[], value: number | bigint]

/** A metric; without labels of its own it has at most one reading. */
export interface MetricFamily {
  name: string
  help: string
  labels: readonly string[]
  read(subject: Subject): readonly Reading[]
}

type Value = number | bigint | undefined

const one =
  (read: (subject: Subject) => Value) =>
  (subject: Subject): readonly Reading[] => {
    const value = read(subject)
    return value === undefined ? [] : [[[], value]]
  }

const plain = (name: string, help: string, read: (subject: Subject) => Value): MetricFamily => ({
  name: `container_${name}`,
  help,
  labels: [],
  read: one(read),
})

type Cpu = NonNullable<Subject['sample']['stats']['cpu']>
type Memory = NonNullable<Subject['sample']['stats']['memory']>
const cpu = (name: string, help: string, read: (cpu: Cpu) => Value): MetricFamily =>
  plain(`cpu_${name}`, help, ({ sample }) => sample.stats.cpu && read(sample.stats.cpu))
const memory = (name: string, help: string, read: (memory: Memory) => Value): MetricFamily =>
  plain(name, help, ({ sample }) => sample.stats.memory && read(sample.stats.memory))

/** CRI's numbers are whole. */
const seconds = (nanoseconds: bigint): bigint => nanoseconds / 1_000_000_000n

const cpuFamilies: MetricFamily[] = [
  cpu('usage_seconds_total', 'CPU time used, in whole seconds.', ({ usageNs }) => seconds(usageNs)),
  cpu('user_seconds_total', 'CPU time used in programs, in whole seconds.', ({ userNs }) => seconds(userNs)),
  cpu('system_seconds_total', 'CPU time used in the kernel, in whole seconds.', ({ systemNs }) => seconds(systemNs)),
  cpu('cfs_periods_total', 'Periods in which the CPU quota was enforced.', ({ periods }) => periods),
  cpu('cfs_throttled_periods_total', 'Periods that ended throttled.', ({ throttledPeriods }) => throttledPeriods),
  cpu('cfs_throttled_seconds_total', 'Time throttled, in whole seconds.', ({ throttledNs }) => seconds(throttledNs)),
]

const memoryFamilies: MetricFamily[] = [
  memory('memory_cache', 'Page cache, in bytes.', ({ cache }) => cache),
  memory('memory_rss', 'Anonymous memory, in bytes.', ({ rss }) => rss),
  memory('memory_kernel_usage', 'Memory of the kernel, in bytes.', ({ kernel }) => kernel ?? 0),
  memory('memory_mapped_file', 'Files mapped into memory, in bytes.', ({ mappedFile }) => mappedFile),
  memory('memory_swap', 'Swap used, in bytes.', ({ swap }) => swap ?? 0),
  memory('memory_failcnt', 'How often the memory limit was hit.', ({ limitHits }) => limitHits ?? 0),
  memory('memory_usage_bytes', 'Memory in use, page cache included.', ({ usage }) => usage),
  memory('memory_max_usage_bytes', 'Most memory ever in use.', ({ maxUsage, usage }) => maxUsage ?? usage),
  memory('memory_working_set_bytes', 'Memory in use without the cache that can be dropped.', (m) => m.workingSet),
  memory('memory_total_active_file_bytes', 'Page cache that is in use.', ({ activeFile }) => activeFile),
  memory('memory_total_inactive_file_bytes', 'Page cache that can be dropped.', ({ inactiveFile }) => inactiveFile),
  {
    name: 'container_memory_failures_total',
    help: 'Page faults, in the cgroup alone or with those below.',
    labels: ['failure_type', 'scope'],
    read: ({ sample: { stats } }) =>
      stats.memory
        ? [
            [['pgfault', 'container'], stats.memory.own.pageFaults],
            [['pgmajfault', 'container'], stats.memory.own.majorPageFaults],
            [['pgfault', 'hierarchy'], stats.memory.pageFaults],
            [['pgmajfault', 'hierarchy'], stats.memory.majorPageFaults],
          ]
        : [],
  },
  memory('oom_events_total', 'Processes killed for want of memory.', ({ oomKills }) => oomKills),
  {
    name: 'container_hugetlb_usage_bytes',
    help: 'Huge pages in use, in bytes.',
    labels: ['pagesize'],
    read: ({ sample }) => (sample.stats.hugePages ?? []).map(({ pageSize, usage }) => [[pageSize], usage]),
  },
  {
    name: 'container_hugetlb_max_usage_bytes',
    help: 'Most huge pages ever in use, in bytes.',
    labels: ['pagesize'],
    read: ({ sample }) =>
      (sample.stats.hugePages ?? []).map(({ pageSize, usage, maxUsage }) => [[pageSize], maxUsage ?? usage]),
  },
]

/** The device of the store is always told of: no traffic is a zero. */
function devicesOf({ sample, filesystem }: Subject): (CgroupDevice & { device: string })[] {
  if (!sample.stats.io) return []
  const { devices } = sample.stats.io
  const isStore = (one: CgroupDevice): boolean => one.major === filesystem?.major && one.minor === filesystem.minor
  const named = devices.map((one) => ({ ...one, device: isStore(one) ? (filesystem?.device ?? '') : '' }))
  if (!filesystem || devices.some(isStore)) return named
  const { device, major, minor } = filesystem
  return [...named, { device, major, minor, readBytes: 0, writtenBytes: 0, reads: 0, writes: 0 }]
}

const traffic = (name: string, help: string, read: (device: CgroupDevice) => number): MetricFamily => ({
  name: `container_fs_${name}`,
  help,
  labels: ['device'],
  read: (subject) =>
    devicesOf(subject).map((one) => [[one.device === '' ? `${one.major}:${one.minor}` : one.device], read(one)]),
})
const filesystem = (
  name: string,
  help: string,
  read: (filesystem: NonNullable<Subject['filesystem']>, subject: Subject) => Value,
): MetricFamily => ({
  name: `container_fs_${name}`,
  help,
  labels: ['device'],
  read: (subject) => {
    const value = subject.filesystem && read(subject.filesystem, subject)
    return value === undefined ? [] : [[[subject.filesystem?.device ?? ''], value]]
  },
})

const diskFamilies: MetricFamily[] = [
  filesystem('inodes_free', 'Inodes that are free.', ({ freeInodes }) => freeInodes),
  filesystem('inodes_total', 'Inodes in all.', ({ inodes }) => inodes),
  filesystem('limit_bytes', 'Size of the file system, in bytes.', ({ bytes }) => bytes),
  filesystem('usage_bytes', 'What was written and is there, in bytes.', (_, { written }) => written?.bytes ?? 0),
  traffic('reads_bytes_total', 'Bytes read.', ({ readBytes }) => readBytes),
  traffic('reads_total', 'Reads.', ({ reads }) => reads),
  traffic('writes_bytes_total', 'Bytes written.', ({ writtenBytes }) => writtenBytes),
  traffic('writes_total', 'Writes.', ({ writes }) => writes),
  {
    name: 'container_blkio_device_usage_total',
    help: 'Bytes to and from block devices.',
    labels: ['device', 'major', 'minor', 'operation'],
    read: (subject) =>
      devicesOf(subject).flatMap(({ device, major, minor, readBytes, writtenBytes }): Reading[] => [
        [[device, String(major), String(minor), 'Read'], readBytes],
        [[device, String(major), String(minor), 'Write'], writtenBytes],
      ]),
  },
]

const link = (name: string, help: string, read: (link: LinkCounters) => number): MetricFamily => ({
  name: `container_network_${name}_total`,
  help,
  labels: ['interface'],
  read: ({ links = [] }) => links.map((one) => [[one.name], read(one)]),
})

const networkFamilies: MetricFamily[] = [
  link('receive_bytes', 'Bytes received.', ({ rxBytes }) => rxBytes),
  link('receive_packets', 'Packets received.', ({ rxPackets }) => rxPackets),
  link('receive_packets_dropped', 'Packets dropped while receiving.', ({ rxDropped }) => rxDropped),
  link('receive_errors', 'Errors while receiving.', ({ rxErrors }) => rxErrors),
  link('transmit_bytes', 'Bytes sent.', ({ txBytes }) => txBytes),
  link('transmit_packets', 'Packets sent.', ({ txPackets }) => txPackets),
  link('transmit_packets_dropped', 'Packets dropped while sending.', ({ txDropped }) => txDropped),
  link('transmit_errors', 'Errors while sending.', ({ txErrors }) => txErrors),
]

const processFamilies: MetricFamily[] = [
  plain('processes', 'Processes.', ({ processes }) => processes?.processes),
  plain('file_descriptors', 'Open file descriptors.', ({ processes }) => processes?.fileDescriptors),
  plain('sockets', 'Open sockets.', ({ processes }) => processes?.sockets),
  plain('threads', 'Threads.', ({ processes, sample }) => sample.stats.pids?.current ?? processes?.threads),
  plain('threads_max', 'Threads allowed; 0 is no limit.', ({ sample }) => sample.stats.pids?.limit ?? 0),
  {
    name: 'container_ulimits_soft',
    help: 'Soft limits of the first process.',
    labels: ['ulimit'],
    read: ({ processes }) =>
      processes?.openFilesLimit === undefined ? [] : [[['max_open_files'], processes.openFilesLimit]],
  },
]

const noQuotaPeriod = 100_000n
const defaultShares = 1024n

const specFamilies: MetricFamily[] = [
  plain('last_seen', 'When it was last seen, in seconds since the epoch.', ({ sample }) => seconds(sample.at)),
  plain('start_time_seconds', 'When it was started, in seconds since the epoch.', (s) =>
    Math.floor(s.startedAt / 1000),
  ),
  plain('spec_cpu_period', 'Period of the CPU quota, in microseconds.', (s) => s.resources?.cpuPeriod || noQuotaPeriod),
  plain('spec_cpu_quota', 'CPU time per period, in microseconds; 0 is no limit.', ({ resources }) => {
    const quota = resources?.cpuQuota ?? 0n
    return quota > 0n ? quota : 0n
  }),
  plain('spec_cpu_shares', 'Shares of the CPU.', ({ resources }) => resources?.cpuShares || defaultShares),
  memory('spec_memory_limit_bytes', 'Memory limit; 0 is none.', ({ limit }) => limit ?? 0),
  memory('spec_memory_reservation_limit_bytes', 'Memory reservation; 0 is none.', (m) => m.reservation ?? 0),
  memory('spec_memory_swap_limit_bytes', 'Swap limit; 0 is none.', ({ swapLimit }) => swapLimit ?? 0),
]

const pressure = (
  resource: string,
  kind: 'waiting' | 'stalled',
  read: (subject: Subject) => CgroupPressure | undefined,
): MetricFamily =>
  plain(
    `pressure_${resource}_${kind}_seconds_total`,
    `Time in which ${kind === 'waiting' ? 'some' : 'all'} processes waited for ${resource}, in whole seconds.`,
    (subject) => {
      const found = read(subject)
      return found && seconds(kind === 'waiting' ? found.some.totalNs : found.full.totalNs)
    },
  )

const pressureFamilies: MetricFamily[] = (['waiting', 'stalled'] as const).flatMap((kind) => [
  pressure('cpu', kind, ({ sample }) => sample.stats.cpu?.pressure),
  pressure('memory', kind, ({ sample }) => sample.stats.memory?.pressure),
  pressure('io', kind, ({ sample }) => sample.stats.io?.pressure),
])

export const metricFamilies: readonly MetricFamily[] = [
  ...cpuFamilies,
  ...memoryFamilies,
  ...diskFamilies,
  ...networkFamilies,
  ...processFamilies,
  ...specFamilies,
  ...pressureFamilies,
]
