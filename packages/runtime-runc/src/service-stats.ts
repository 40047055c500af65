// The RuntimeService's calls about usage.
import { readFileSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { ContainerStats, PodSandboxStats } from '@nodelet/cri-api'
import type { ContainerAttributes, ContainerStatsFilter, PodSandboxStatsFilter, RuntimeService } from '@nodelet/cri-api'
import { inNamespace, isNamespacePinned } from '@nodelet/linux'
import { batches } from './batches.ts'
import { filterContainers, filterSandboxes } from './container/filter.ts'
import type { ContainerRecord } from './container/record.ts'
import { containerStatsOf, podStatsOf } from './container/stats.ts'
import type { Written } from './container/stats.ts'
import { containerOf } from './container/status.ts'
import type { SandboxRecord } from './sandbox/record.ts'
import { sandboxOf } from './sandbox/status.ts'
import { containerCgroup, parentCgroup } from './spec/cgroup-path.ts'
import type { ServiceContext } from './service-context.ts'
import { containerId as wholeId, sandboxId, shownContainers } from './service-context.ts'

type StatsCalls = Pick<
  RuntimeService,
  | 'containerStats'
  | 'listContainerStats'
  | 'streamContainerStats'
  | 'podSandboxStats'
  | 'listPodSandboxStats'
  | 'streamPodSandboxStats'
>

/** After so many readings others have their turn: together they would hold up the event loop. */
const readingsPerTurn = 16

/** Works on one after the other, so that the event loop is never held up for long. */
export async function eachInTurn<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  for (const [index, item] of items.entries()) {
    if (index % readingsPerTurn === readingsPerTurn - 1) await turn()
    results.push(await work(item))
  }
  return results
}

/** The same for pods that are ready when their turn comes: one may be stopped and removed while others are read. */
export async function eachReadyPod<R>(
  { sandboxes }: ServiceContext,
  pods: readonly Readonly<SandboxRecord>[],
  work: (pod: Readonly<SandboxRecord>) => Promise<R>,
): Promise<R[]> {
  const results = await eachInTurn(pods, async (pod) => (sandboxes.isReady(pod.id) ? [await work(pod)] : []))
  return results.flat()
}

/** Where the cgroup of a container is. */
export function cgroupOf(
  { sandboxes, handlers }: ServiceContext,
  { id, sandboxId: podId }: Readonly<ContainerRecord>,
): string {
  const parent = sandboxes.list().find((one) => one.id === podId)?.cgroupParent ?? ''
  return containerCgroup(handlers.cgroupDriver, parent, id)
}

/** The text of /proc/net/dev in a pod's network; undefined when that has gone, or is the node's. */
export function devicesOf(netns: string | undefined): string | undefined {
  if (netns === undefined || !isNamespacePinned(netns)) return undefined
  return inNamespace('net', netns, () => readFileSync('/proc/thread-self/net/dev', 'utf8'))
}

/** By container: what it wrote. */
export async function writtenBy(
  { images }: ServiceContext,
  records: readonly Readonly<ContainerRecord>[],
): Promise<ReadonlyMap<string, Written>> {
  const found = await images.rootfsUsage(records.map(({ id }) => id))
  return new Map([...found].map(([id, usage]) => [id, { mountpoint: images.root, usage }]))
}

export function statsCalls(context: ServiceContext): StatsCalls {
  const { containers, sandboxes, stats, handlers } = context

  const statsOf = async (records: readonly Readonly<ContainerRecord>[]): Promise<ContainerStats[]> => {
    const written = await writtenBy(context, records)
    return eachInTurn(records, async (record) => {
      const sample = record.phase === 'running' ? await stats.read(cgroupOf(context, record)) : undefined
      return containerStatsOf(attributesOf(record), sample, written.get(record.id))
    })
  }
  /** By ID: the containers of the pods. */
  const statsIn = async (pods: readonly Readonly<SandboxRecord>[]): Promise<ReadonlyMap<string, ContainerStats>> => {
    const ids = new Set(pods.map(({ id }) => id))
    const all = await statsOf(shownContainers(context).filter((one) => ids.has(one.sandboxId)))
    return new Map(all.map((one) => [one.attributes?.id ?? '', one]))
  }
  const ofPod = async (
    { id, config: { metadata, labels, annotations }, cgroupParent }: Readonly<SandboxRecord>,
    byId: ReadonlyMap<string, ContainerStats>,
  ): Promise<PodSandboxStats> => {
    const own = shownContainers(context).flatMap((one) => (one.sandboxId === id ? (byId.get(one.id) ?? []) : []))
    const links = devicesOf(sandboxes.facts(id).networkPath)
    return {
      attributes: { id, metadata, labels, annotations },
      linux: podStatsOf(await stats.read(parentCgroup(handlers.cgroupDriver, cgroupParent)), own, links),
    }
  }
  const listContainers = async (filter: ContainerStatsFilter | undefined): Promise<ContainerStats[]> => {
    const shown = shownContainers(context)
    const pods = sandboxes.list()
    const cgroups = new Map(pods.map(({ id, cgroupParent }) => [id, cgroupParent]))
    stats.keepOnly(
      new Set([
        ...shown.map(({ id, sandboxId: podId }) =>
          containerCgroup(handlers.cgroupDriver, cgroups.get(podId) ?? '', id),
        ),
        ...[...cgroups.values()].map((parent) => parentCgroup(handlers.cgroupDriver, parent)),
      ]),
    )
    const found = new Set(filterContainers(shown.map(containerOf), filter, pods).map(({ id }) => id))
    return statsOf(shown.filter(({ id }) => found.has(id)))
  }
  const listPods = async (filter: PodSandboxStatsFilter | undefined): Promise<PodSandboxStats[]> => {
    const ready = sandboxes.list().filter(({ id }) => sandboxes.isReady(id))
    const shown = ready.map((record) => sandboxOf(record, true))
    const found = new Set(filterSandboxes(shown, filter && { ...filter, state: undefined }).map(({ id }) => id))
    const pods = ready.filter(({ id }) => found.has(id))
    const byId = await statsIn(pods)
    return eachReadyPod(context, pods, async (pod) => ofPod(pod, byId))
  }

  return {
    containerStats: async ({ containerId }) => ({
      stats: (await statsOf([containers.status(wholeId(context, containerId))]))[0],
    }),
    listContainerStats: async ({ filter }) => ({ stats: await listContainers(filter) }),
    async *streamContainerStats({ filter }) {
      for await (const containerStats of batches(await listContainers(filter), ContainerStats)) yield { containerStats }
    },
    podSandboxStats: async ({ podSandboxId }) => {
      const pod = sandboxes.status(sandboxId(context, podSandboxId))
      return { stats: await ofPod(pod, await statsIn([pod])) }
    },
    listPodSandboxStats: async ({ filter }) => ({ stats: await listPods(filter) }),
    async *streamPodSandboxStats({ filter }) {
      for await (const podSandboxStats of batches(await listPods(filter), PodSandboxStats)) yield { podSandboxStats }
    },
  }
}

function attributesOf({ id, config }: Readonly<ContainerRecord>): ContainerAttributes {
  const { metadata, labels, annotations } = config
  return { id, metadata, labels, annotations }
}
