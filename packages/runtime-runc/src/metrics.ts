// Usage as metrics, with the names that cAdvisor gave them.
import { MetricType } from '@nodelet/cri-api'
import type {
  ContainerStats,
  Metric,
  MetricDescriptor,
  NetworkUsage,
  PodSandboxMetrics,
  PodSandboxStats,
  UInt64Value,
} from '@nodelet/cri-api'
import type { ContainerRecord } from './container/record.ts'

type Usage = Pick<ContainerStats, 'cpu' | 'memory'>
type Interface = NetworkUsage['interfaces'][number]

const baseLabels = ['pod', 'namespace', 'container', 'id', 'image']

/** Of a container or a pod. */
const usageMetrics: readonly [name: string, help: string, read: (usage: Usage) => bigint | undefined][] = [
  [
    'container_cpu_usage_seconds_total',
    'CPU time used, in whole seconds.',
    ({ cpu }) => seconds(cpu?.usageCoreNanoSeconds),
  ],
  ['container_memory_usage_bytes', 'Memory in use, page cache included.', ({ memory }) => memory?.usageBytes?.value],
  [
    'container_memory_working_set_bytes',
    'Memory in use without the page cache that can be dropped.',
    ({ memory }) => memory?.workingSetBytes?.value,
  ],
  ['container_memory_rss', 'Anonymous memory in use.', ({ memory }) => memory?.rssBytes?.value],
]

/** Of one of a pod's links. */
const networkMetrics: readonly [name: string, help: string, read: (link: Interface) => bigint | undefined][] = [
  ['container_network_receive_bytes_total', 'Bytes received.', ({ rxBytes }) => rxBytes?.value],
  ['container_network_receive_errors_total', 'Errors while receiving.', ({ rxErrors }) => rxErrors?.value],
  ['container_network_transmit_bytes_total', 'Bytes sent.', ({ txBytes }) => txBytes?.value],
  ['container_network_transmit_errors_total', 'Errors while sending.', ({ txErrors }) => txErrors?.value],
]

export const metricDescriptors: MetricDescriptor[] = [
  ...usageMetrics.map(([name, help]) => ({ name, help, labelKeys: baseLabels })),
  ...networkMetrics.map(([name, help]) => ({ name, help, labelKeys: [...baseLabels, 'interface'] })),
]

/** A pod's metrics and those of its running containers; `records` name their images. */
export function metricsOf(
  { attributes, linux }: PodSandboxStats,
  records: readonly Readonly<ContainerRecord>[],
): PodSandboxMetrics {
  const { id = '', metadata } = attributes ?? {}
  const labels = (container: string, ofId: string, image: string): string[] => [
    metadata?.name ?? '',
    metadata?.namespace ?? '',
    container,
    ofId,
    image,
  ]
  const pod = labels('', id, '')
  const links = linux?.network?.interfaces ?? []
  return {
    podSandboxId: id,
    metrics: [
      ...usage(linux ?? {}, pod),
      ...links.flatMap((link) =>
        networkMetrics.flatMap(([name, , read]) => metric(name, [...pod, link.name], read(link))),
      ),
    ],
    containerMetrics: (linux?.containers ?? []).map((stats) => {
      const { id: containerId = '', metadata: named } = stats.attributes ?? {}
      const image = records.find((record) => record.id === containerId)?.imageName ?? ''
      return { containerId, metrics: usage(stats, labels(named?.name ?? '', containerId, image)) }
    }),
  }
}

const usage = (stats: Usage, labelValues: string[]): Metric[] =>
  usageMetrics.flatMap(([name, , read]) => metric(name, labelValues, read(stats)))

function metric(name: string, labelValues: string[], value: bigint | undefined): Metric[] {
  if (value === undefined) return []
  const metricType = name.endsWith('_total') ? MetricType.COUNTER : MetricType.GAUGE
  return [{ name, timestamp: 0n, metricType, labelValues, value: { value } }]
}

const seconds = (nanoseconds: UInt64Value | undefined): bigint | undefined =>
  nanoseconds && nanoseconds.value / 1_000_000_000n
