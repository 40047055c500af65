// What the runtime and the disks say of all pods: one call of the runtime, however many there are.
import type { ContainerStats, PodSandboxStats, RuntimeService } from '@nodelet/cri-api'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { containerNameLabel, podUidLabel } from '../pod/labels.ts'
import type { MeteredVolume } from '../storage/meter.ts'
import type { PodDisk, PodDisks } from './pod-disk.ts'

export interface PodStats {
  pod: Pod
  /** Usually one. */
  sandboxes: readonly PodSandboxStats[]
  /** Those that run, by name. */
  containers: ReadonlyMap<string, ContainerStats>
  disk: PodDisk
  /** Volumes that tell of themselves, as last measured. */
  volumes: readonly MeteredVolume[]
}

export interface PodStatsOptions {
  runtime: Pick<RuntimeService, 'listPodSandboxStats'>
  disks: PodDisks
  volumes(podUid: string): readonly MeteredVolume[]
  pods(): readonly Pod[]
}

/** By UID. @param maxAgeMs how old measurements of disks may be */
export async function readPodStats(
  { runtime, disks, volumes, pods }: PodStatsOptions,
  maxAgeMs: number,
  signal: AbortSignal,
): Promise<Map<string, PodStats>> {
  const { stats } = await runtime.listPodSandboxStats({}, { signal })
  const byUid = Map.groupBy(stats, ({ attributes }) => attributes?.labels[podUidLabel] ?? '')
  const all = new Map<string, PodStats>()
  for (const pod of pods()) {
    const uid = pod.metadata?.uid ?? ''
    const sandboxes = byUid.get(uid) ?? []
    const containers = sandboxes.flatMap(({ linux }) => linux?.containers ?? [])
    all.set(uid, {
      pod,
      sandboxes,
      containers: new Map(containers.map((one) => [one.attributes?.labels[containerNameLabel] ?? '', one])),
      disk: await disks.measure(pod, maxAgeMs, signal),
      volumes: volumes(uid),
    })
  }
  disks.keep(new Set(all.keys()))
  return all
}
