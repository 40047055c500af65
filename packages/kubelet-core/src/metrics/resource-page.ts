// `/metrics/resource`: what metrics-server reads. Pure.
import type { Summary } from '../stats/summary-types.ts'
import { type Family, metricsText, type Sample } from './text.ts'

interface Usage {
  cpu?: { time: string; usageCoreNanoSeconds?: number }
  memory?: { time: string; workingSetBytes?: number }
  swap?: { time: string; swapUsageBytes?: number; swapAvailableBytes?: number }
}

type Owner = { labels: Record<string, string>; usage: Usage }

const seconds = (nanoseconds: number): number => nanoseconds / 1e9

const cpuOf = ({ labels, usage: { cpu } }: Owner): Sample[] =>
  cpu?.usageCoreNanoSeconds === undefined
    ? []
    : [{ labels, value: seconds(cpu.usageCoreNanoSeconds), timeMs: Date.parse(cpu.time) }]

const memoryOf = ({ labels, usage: { memory } }: Owner): Sample[] =>
  memory?.workingSetBytes === undefined
    ? []
    : [{ labels, value: memory.workingSetBytes, timeMs: Date.parse(memory.time) }]

const swapOf = ({ labels, usage: { swap } }: Owner): Sample[] =>
  swap?.swapUsageBytes === undefined ? [] : [{ labels, value: swap.swapUsageBytes, timeMs: Date.parse(swap.time) }]

const swapLimitOf = ({ labels, usage: { swap } }: Owner): Sample[] =>
  swap?.swapUsageBytes === undefined || swap.swapAvailableBytes === undefined
    ? []
    : [{ labels, value: swap.swapUsageBytes + swap.swapAvailableBytes, timeMs: Date.parse(swap.time) }]

/** @param summary undefined when it could not be read: the page then tells that alone */
export function resourcePage(summary: Summary | undefined): string {
  const nodes: Owner[] = summary ? [{ labels: {}, usage: summary.node }] : []
  const pods = (summary?.pods ?? []).map((pod): Owner => {
    const { name, namespace } = pod.podRef
    return { labels: { namespace, pod: name }, usage: pod }
  })
  const containers = (summary?.pods ?? []).flatMap(({ podRef: { name, namespace }, containers: all }) =>
    all.map((container) => ({
      labels: { container: container.name, namespace, pod: name },
      usage: container as Usage,
      startTime: container.startTime,
    })),
  )
  const started = containers.flatMap(({ labels, startTime }): Sample[] =>
    startTime ? [{ labels, value: Date.parse(startTime) / 1000 }] : [],
  )
  const counter = (name: string, help: string, samples: Sample[]): Family => ({ name, help, type: 'counter', samples })
  const gauge = (name: string, help: string, samples: Sample[]): Family => ({ name, help, type: 'gauge', samples })
  return metricsText([
    counter(
      'container_cpu_usage_seconds_total',
      '[STABLE] CPU time that the container has used, in core-seconds',
      containers.flatMap(cpuOf),
    ),
    gauge(
      'container_memory_working_set_bytes',
      '[STABLE] Working set of the container, in bytes',
      containers.flatMap(memoryOf),
    ),
    gauge('container_start_time_seconds', '[STABLE] When the container started, in seconds since the epoch', started),
    gauge('container_swap_limit_bytes', 'Swap that the container may use, in bytes', containers.flatMap(swapLimitOf)),
    gauge('container_swap_usage_bytes', 'Swap that the container uses, in bytes', containers.flatMap(swapOf)),
    counter(
      'node_cpu_usage_seconds_total',
      '[STABLE] CPU time that the node has used, in core-seconds',
      nodes.flatMap(cpuOf),
    ),
    gauge('node_memory_working_set_bytes', '[STABLE] Working set of the node, in bytes', nodes.flatMap(memoryOf)),
    gauge('node_swap_usage_bytes', 'Swap that the node uses, in bytes', nodes.flatMap(swapOf)),
    counter(
      'pod_cpu_usage_seconds_total',
      '[STABLE] CPU time that the pod has used, in core-seconds',
      pods.flatMap(cpuOf),
    ),
    gauge('pod_memory_working_set_bytes', '[STABLE] Working set of the pod, in bytes', pods.flatMap(memoryOf)),
    gauge('pod_swap_usage_bytes', 'Swap that the pod uses, in bytes', pods.flatMap(swapOf)),
    gauge('resource_scrape_error', '[STABLE] 1 if there was an error while getting these figures, else 0', [
      { labels: {}, value: summary ? 0 : 1 },
    ]),
  ])
}
