// `/metrics/cadvisor`: the families that dashboards read, from the runtime's metrics, or from its statistics. Pure.
import {
  type ContainerMetrics,
  type Metric,
  type MetricDescriptor,
  MetricType,
  type PodSandboxMetrics,
} from '@nodelet/cri-api'
import type { MachineFacts } from '../node/facts.ts'
import type { CpuJson, MemoryJson, Summary } from '../stats/summary-types.ts'
import { type Family, metricsText, type Sample } from './text.ts'

export interface RuntimeMetrics {
  descriptors: readonly MetricDescriptor[]
  pods: readonly PodSandboxMetrics[]
}

/** @param metrics undefined when the runtime has none: then the summary has to do */
export function cadvisorPage(machine: MachineFacts, summary: Summary, metrics: RuntimeMetrics | undefined): string {
  const ofPods = metrics ? familiesOf(metrics) : familiesIn(summary)
  return metricsText([...withNode(ofPods, summary), ...machineFamilies(machine)])
}

/** Metrics are described once, and come by pod and container. */
function familiesOf({ descriptors, pods }: RuntimeMetrics): Family[] {
  const samples = new Map<string, Metric[]>()
  for (const { metrics, containerMetrics } of pods) {
    for (const { metrics: own } of [{ metrics }, ...containerMetrics] satisfies Pick<ContainerMetrics, 'metrics'>[]) {
      for (const metric of own) samples.set(metric.name, [...(samples.get(metric.name) ?? []), metric])
    }
  }
  return descriptors.map(({ name, help, labelKeys }): Family => {
    const own = samples.get(name) ?? []
    return {
      name,
      help,
      type: own[0]?.metricType === MetricType.COUNTER ? 'counter' : 'gauge',
      samples: own.map(({ labelValues, value, timestamp }) => ({
        labels: Object.fromEntries(labelKeys.map((key, index) => [key, labelValues[index] ?? ''])),
        value: value?.value ?? 0n,
        ...(timestamp > 0n && { timeMs: Number(timestamp / 1_000_000n) }),
      })),
    }
  })
}

const helps = {
  container_cpu_usage_seconds_total: 'CPU time used, in core-seconds',
  container_memory_usage_bytes: 'Memory in use, caches included, in bytes',
  container_memory_working_set_bytes: 'Working set, in bytes',
  container_memory_rss: 'Anonymous memory, in bytes',
  container_fs_usage_bytes: 'Bytes used on the file system',
  container_fs_limit_bytes: 'Size of the file system, in bytes',
  container_network_receive_bytes_total: 'Bytes received',
  container_network_receive_errors_total: 'Errors while receiving',
  container_network_transmit_bytes_total: 'Bytes sent',
  container_network_transmit_errors_total: 'Errors while sending',
  container_processes: 'Processes that run inside',
  container_start_time_seconds: 'When it started, in seconds since the epoch',
} as const
type Name = keyof typeof helps

const typeOf = (name: string): Family['type'] => (name.endsWith('_total') ? 'counter' : 'gauge')

function familiesIn({ pods }: Summary): Family[] {
  const found = new Map<Name, Sample[]>()
  const add = (name: Name, labels: Record<string, string>, value: number | undefined): void => {
    if (value !== undefined) found.set(name, [...(found.get(name) ?? []), { labels, value }])
  }
  for (const { podRef, containers, cpu, memory, network, process_stats: processes } of pods) {
    const pod = { container: '', id: '', image: '', name: '', namespace: podRef.namespace, pod: podRef.name }
    addUsage(add, pod, { cpu, memory })
    add('container_processes', pod, processes?.process_count)
    for (const { name, rxBytes, rxErrors, txBytes, txErrors } of network?.interfaces ?? []) {
      const labels = { ...pod, interface: name }
      add('container_network_receive_bytes_total', labels, rxBytes)
      add('container_network_receive_errors_total', labels, rxErrors)
      add('container_network_transmit_bytes_total', labels, txBytes)
      add('container_network_transmit_errors_total', labels, txErrors)
    }
    for (const { name, startTime, rootfs, ...usage } of containers) {
      const labels = { ...pod, container: name }
      addUsage(add, labels, usage)
      add('container_fs_usage_bytes', labels, rootfs?.usedBytes)
      add('container_fs_limit_bytes', labels, rootfs?.capacityBytes)
      add('container_start_time_seconds', labels, startTime ? Date.parse(startTime) / 1000 : undefined)
    }
  }
  return [...found].map(([name, samples]) => ({ name, help: helps[name], type: typeOf(name), samples }))
}

type Add = (name: Name, labels: Record<string, string>, value: number | undefined) => void

interface Used {
  cpu?: CpuJson | undefined
  memory?: MemoryJson | undefined
}

function addUsage(add: Add, labels: Record<string, string>, { cpu, memory }: Used): void {
  const used = cpu?.usageCoreNanoSeconds
  add('container_cpu_usage_seconds_total', { ...labels, cpu: 'total' }, used === undefined ? undefined : used / 1e9)
  add('container_memory_usage_bytes', labels, memory?.usageBytes)
  add('container_memory_working_set_bytes', labels, memory?.workingSetBytes)
  add('container_memory_rss', labels, memory?.rssBytes)
}

/** The node as a whole and all pods together, as the cgroups that they are. */
function withNode(families: readonly Family[], { node }: Summary): Family[] {
  const more = new Map<string, Sample[]>()
  const none = { container: '', image: '', name: '', namespace: '', pod: '' }
  const add: Add = (name, labels, value) => {
    if (value !== undefined) more.set(name, [...(more.get(name) ?? []), { labels, value }])
  }
  addUsage(add, { ...none, id: '/' }, node)
  const pods = node.systemContainers?.find(({ name }) => name === 'pods')
  if (pods) addUsage(add, { ...none, id: '/kubepods' }, pods)
  const known = families.map((family) => ({
    ...family,
    samples: [...(more.get(family.name) ?? []), ...family.samples],
  }))
  const missing = [...more].filter(([name]) => !families.some((family) => family.name === name))
  return [
    ...known,
    ...missing.map(([name, samples]) => ({ name, help: helps[name as Name], type: typeOf(name), samples })),
  ]
}

function machineFamilies(machine: MachineFacts): Family[] {
  const labels = { boot_id: machine.bootId, machine_id: machine.machineId, system_uuid: machine.systemUuid }
  const gauge = (name: string, help: string, value: number | bigint): Family => ({
    name,
    help,
    type: 'gauge',
    samples: [{ labels, value }],
  })
  return [
    gauge('machine_cpu_cores', 'Logical CPUs', machine.cpus),
    gauge('machine_memory_bytes', 'Memory that is installed, in bytes', machine.memoryBytes),
  ]
}
