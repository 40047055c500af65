// What each pod uses, as eviction ranks it: memory and layers from the runtime, logs and volumes from the disk.
import { join } from 'node:path'
import type { ContainerStats, PodSandboxStats, RuntimeService } from '@nodelet/cri-api'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { ContainerUsage, PodUsage, VolumeUsage } from '../eviction/usage.ts'
import { containerNameLabel, podUidLabel } from '../pod/labels.ts'
import { podLogFolder } from '../pod/sandbox-config.ts'
import { podFolders } from '../volume/folders.ts'
import { diskUsed } from './disk-usage.ts'

export interface PodUsageOptions {
  runtime: Pick<RuntimeService, 'listPodSandboxStats'>
  rootDir: string
  podLogsDir: string
  pods(): readonly Pod[]
}

/** By UID. One call of the runtime for all pods. */
export async function readPodUsage(
  { runtime, rootDir, podLogsDir, pods }: PodUsageOptions,
  signal: AbortSignal,
): Promise<Map<string, PodUsage>> {
  const { stats } = await runtime.listPodSandboxStats({}, { signal })
  const byUid = new Map<string, PodSandboxStats[]>()
  for (const one of stats) {
    const uid = one.attributes?.labels[podUidLabel] ?? ''
    byUid.set(uid, [...(byUid.get(uid) ?? []), one])
  }
  const usages = new Map<string, PodUsage>()
  for (const pod of pods()) {
    const uid = pod.metadata?.uid ?? ''
    usages.set(uid, await usageOf(pod, byUid.get(uid) ?? [], { rootDir, podLogsDir }, signal))
  }
  return usages
}

async function usageOf(
  pod: Pod,
  stats: readonly PodSandboxStats[],
  { rootDir, podLogsDir }: { rootDir: string; podLogsDir: string },
  signal: AbortSignal,
): Promise<PodUsage> {
  const containers = new Map<string, ContainerUsage>()
  for (const one of stats.flatMap(({ linux }) => linux?.containers ?? [])) {
    const name = one.attributes?.labels[containerNameLabel] ?? ''
    const logs = await diskUsed(join(podLogFolder(pod, podLogsDir), name), signal)
    containers.set(name, containerUsage(one, logs))
  }
  const sum = (of: (one: PodSandboxStats) => bigint | undefined): bigint =>
    stats.reduce((total, one) => total + (of(one) ?? 0n), 0n)
  return {
    memoryBytes: sum(({ linux }) => linux?.memory?.workingSetBytes?.value),
    processes: sum(({ linux }) => linux?.process?.processCount?.value),
    containers,
    volumes: await volumesOf(pod, rootDir, signal),
  }
}

const containerUsage = ({ memory, writableLayer }: ContainerStats, logs: ContainerUsage['logs']): ContainerUsage => ({
  memoryBytes: memory?.workingSetBytes?.value ?? 0n,
  rootfs: { bytes: writableLayer?.usedBytes?.value ?? 0n, inodes: writableLayer?.inodesUsed?.value ?? 0n },
  logs,
})

/** Those that the node itself keeps for the pod. */
async function volumesOf(pod: Pod, rootDir: string, signal: AbortSignal): Promise<Map<string, VolumeUsage>> {
  const { volumes: folder } = podFolders(rootDir, pod.metadata?.uid ?? '')
  const found = new Map<string, VolumeUsage>()
  for (const { name, emptyDir, configMap } of pod.spec?.volumes ?? []) {
    if (!emptyDir && !configMap) continue
    const kind = emptyDir ? 'kubernetes.io~empty-dir' : 'kubernetes.io~configmap'
    const used = await diskUsed(join(folder, kind, name), signal)
    found.set(name, { ...used, onDisk: !emptyDir?.medium })
  }
  return found
}
