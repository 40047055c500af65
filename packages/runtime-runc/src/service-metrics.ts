// The RuntimeService's calls about metrics.
import { realpath, statfs } from 'node:fs/promises'
import { PodSandboxMetrics } from '@nodelet/cri-api'
import type { ContainerMetrics, LinuxContainerResources, RuntimeService } from '@nodelet/cri-api'
import { readMountInfo } from '@nodelet/linux'
import { batches } from './batches.ts'
import { mountOf } from './container/facts.ts'
import type { ContainerRecord } from './container/record.ts'
import { parseLinks } from './metrics/links.ts'
import { metricDescriptors, metricsOf } from './metrics/metrics.ts'
import { processUsage } from './metrics/processes.ts'
import type { StoreFilesystem, Subject } from './metrics/subject.ts'
import type { SandboxRecord } from './sandbox/record.ts'
import { parentCgroup } from './spec/cgroup-path.ts'
import type { ServiceContext } from './service-context.ts'
import { shownContainers } from './service-context.ts'
import { cgroupOf, devicesOf, eachInTurn, eachReadyPod, writtenBy } from './service-stats.ts'

type MetricsCalls = Pick<RuntimeService, 'listMetricDescriptors' | 'listPodSandboxMetrics' | 'streamPodSandboxMetrics'>

export function metricsCalls(context: ServiceContext): MetricsCalls {
  const { sandboxes, stats, handlers } = context
  const { cgroups } = sandboxes

  const subjectOf = async (
    cgroup: string,
    known: Pick<Subject, 'startedAt' | 'filesystem' | 'written' | 'links'> & {
      resources: LinuxContainerResources | undefined
    },
  ): Promise<Subject> => ({
    ...known,
    sample: await stats.read(cgroup),
    processes: processUsage(await cgroups.processes(cgroup)),
  })

  const ofContainer = async (
    record: Readonly<ContainerRecord>,
    pod: Readonly<SandboxRecord>,
    shared: Pick<Subject, 'filesystem' | 'written'>,
  ): Promise<ContainerMetrics> => {
    const { id, config, startedAt = 0, imageName } = record
    const { name = '', namespace = '' } = pod.config.metadata ?? {}
    const subject = await subjectOf(cgroupOf(context, record), {
      ...shared,
      startedAt,
      resources: config.linux?.resources,
    })
    const owner = { pod: name, namespace, container: config.metadata?.name ?? '', id, image: imageName }
    return { containerId: id, metrics: metricsOf(subject, owner) }
  }

  const ofPod = async (
    pod: Readonly<SandboxRecord>,
    running: readonly Readonly<ContainerRecord>[],
    filesystem: StoreFilesystem | undefined,
  ): Promise<PodSandboxMetrics> => {
    const { id, config, cgroupParent, createdAt } = pod
    const { name = '', namespace = '' } = config.metadata ?? {}
    const links = parseLinks(devicesOf(sandboxes.facts(id).networkPath) ?? '')
    const subject = await subjectOf(parentCgroup(handlers.cgroupDriver, cgroupParent), {
      startedAt: createdAt,
      links,
      resources: config.linux?.resources,
      ...(filesystem && { filesystem }),
    })
    const written = await writtenBy(context, running)
    const containerMetrics = await eachInTurn(running, async (record) =>
      ofContainer(record, pod, { filesystem, written: written.get(record.id)?.usage }),
    )
    const owner = { pod: name, namespace, container: '', id, image: '' }
    return { podSandboxId: id, metrics: metricsOf(subject, owner), containerMetrics }
  }

  const list = async (): Promise<PodSandboxMetrics[]> => {
    const filesystem = await storeFilesystem(context.images.root)
    const running = Map.groupBy(
      shownContainers(context).filter(({ phase }) => phase === 'running'),
      ({ sandboxId }) => sandboxId,
    )
    const ready = sandboxes.list().filter(({ id }) => sandboxes.isReady(id))
    return eachReadyPod(context, ready, async (pod) => ofPod(pod, running.get(pod.id) ?? [], filesystem))
  }

  return {
    listMetricDescriptors: async () => ({ descriptors: metricDescriptors }),
    listPodSandboxMetrics: async () => ({ podMetrics: await list() }),
    async *streamPodSandboxMetrics() {
      for await (const podSandboxMetrics of batches(await list(), PodSandboxMetrics)) yield { podSandboxMetrics }
    },
  }
}

/** The file system at a folder. */
async function storeFilesystem(root: string): Promise<StoreFilesystem | undefined> {
  const path = await realpath(root)
  const mount = mountOf(path, await readMountInfo())
  if (!mount) return undefined
  const { blocks, bsize, files, ffree } = await statfs(path)
  const { source, major, minor } = mount
  return { device: source, major, minor, bytes: blocks * bsize, inodes: files, freeInodes: ffree }
}
