// The RuntimeService's calls about usage.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type {
  ContainerAttributes,
  ContainerStats,
  ContainerStatsFilter,
  PodSandboxMetrics,
  PodSandboxStats,
  PodSandboxStatsFilter,
  RuntimeService,
} from '@nodelet/cri-api'
import { inNamespace, isNamespacePinned } from '@nodelet/linux'
import { filterContainers, filterSandboxes } from './container/filter.ts'
import type { ContainerRecord } from './container/record.ts'
import { containerStatsOf, podStatsOf } from './container/stats.ts'
import { containerOf } from './container/status.ts'
import { metricDescriptors, metricsOf } from './metrics.ts'
import type { SandboxRecord } from './sandbox/record.ts'
import { sandboxOf } from './sandbox/status.ts'
import type { ServiceContext } from './service-context.ts'
import { batches, containerId as wholeId, sandboxId, shownContainers } from './service-context.ts'

type StatsCalls = Pick<
  RuntimeService,
  | 'containerStats'
  | 'listContainerStats'
  | 'streamContainerStats'
  | 'podSandboxStats'
  | 'listPodSandboxStats'
  | 'streamPodSandboxStats'
  | 'listMetricDescriptors'
  | 'listPodSandboxMetrics'
  | 'streamPodSandboxMetrics'
>

export function statsCalls(context: ServiceContext): StatsCalls {
  const { containers, sandboxes, stats } = context
  const parentOf = (id: string): string | undefined => sandboxes.list().find((one) => one.id === id)?.cgroupParent
  const cgroupOf = ({ id, sandboxId: podId }: Readonly<ContainerRecord>): string => join('/', parentOf(podId) ?? '', id)

  const ofContainer = async (record: Readonly<ContainerRecord>): Promise<ContainerStats> =>
    containerStatsOf(attributesOf(record), record.phase === 'running' ? await stats.read(cgroupOf(record)) : undefined)
  const ofPod = async (record: Readonly<SandboxRecord>): Promise<PodSandboxStats> => {
    const { metadata, labels, annotations } = record.config
    const own = shownContainers(context).filter((one) => one.sandboxId === record.id)
    const [sample, perContainer] = await Promise.all([
      stats.read(record.cgroupParent),
      Promise.all(own.map(ofContainer)),
    ])
    const { networkPath } = sandboxes.facts(record.id)
    return {
      attributes: { id: record.id, metadata, labels, annotations },
      linux: podStatsOf(sample, perContainer, networkPath === undefined ? undefined : devicesOf(networkPath)),
    }
  }
  const listContainers = async (filter: ContainerStatsFilter | undefined): Promise<ContainerStats[]> => {
    const shown = shownContainers(context)
    stats.keepOnly(new Set([...shown.map(cgroupOf), ...sandboxes.list().map(({ cgroupParent }) => cgroupParent)]))
    const found = new Set(filterContainers(shown.map(containerOf), filter, sandboxes.list()).map(({ id }) => id))
    return Promise.all(shown.filter(({ id }) => found.has(id)).map(ofContainer))
  }
  const listPods = async (filter: PodSandboxStatsFilter | undefined): Promise<PodSandboxStats[]> => {
    const ready = sandboxes.list().filter(({ id }) => sandboxes.isReady(id))
    const shown = ready.map((record) => sandboxOf(record, true))
    const found = new Set(filterSandboxes(shown, filter && { ...filter, state: undefined }).map(({ id }) => id))
    return Promise.all(ready.filter(({ id }) => found.has(id)).map(ofPod))
  }
  const listMetrics = async (): Promise<PodSandboxMetrics[]> =>
    (await listPods(undefined)).map((pod) => metricsOf(pod, context.containers.list()))

  return {
    containerStats: async ({ containerId }) => ({
      stats: await ofContainer(containers.status(wholeId(context, containerId))),
    }),
    listContainerStats: async ({ filter }) => ({ stats: await listContainers(filter) }),
    async *streamContainerStats({ filter }) {
      for await (const containerStats of batches(await listContainers(filter))) yield { containerStats }
    },
    podSandboxStats: async ({ podSandboxId }) => ({
      stats: await ofPod(sandboxes.status(sandboxId(context, podSandboxId))),
    }),
    listPodSandboxStats: async ({ filter }) => ({ stats: await listPods(filter) }),
    async *streamPodSandboxStats({ filter }) {
      for await (const podSandboxStats of batches(await listPods(filter))) yield { podSandboxStats }
    },
    listMetricDescriptors: async () => ({ descriptors: metricDescriptors }),
    listPodSandboxMetrics: async () => ({ podMetrics: await listMetrics() }),
    async *streamPodSandboxMetrics() {
      for await (const podSandboxMetrics of batches(await listMetrics())) yield { podSandboxMetrics }
    },
  }
}

function attributesOf({ id, config }: Readonly<ContainerRecord>): ContainerAttributes {
  const { metadata, labels, annotations } = config
  return { id, metadata, labels, annotations }
}

/** The counters of a pod's links; undefined when its network has gone. */
function devicesOf(netns: string): string | undefined {
  if (!isNamespacePinned(netns)) return undefined
  return inNamespace('net', netns, () => readFileSync('/proc/thread-self/net/dev', 'utf8'))
}
