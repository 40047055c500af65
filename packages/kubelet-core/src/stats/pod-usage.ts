// What each pod uses, as eviction ranks it. Pure.
import type { ContainerStats } from '@nodelet/cri-api'
import type { ContainerUsage, PodUsage } from '../eviction/usage.ts'
import type { PodStats } from './pod-stats.ts'

export function podUsageOf({ sandboxes, containers, disk }: PodStats): PodUsage {
  const sum = (of: (one: PodStats['sandboxes'][number]) => bigint | undefined): bigint =>
    sandboxes.reduce((total, one) => total + (of(one) ?? 0n), 0n)
  return {
    memoryBytes: sum(({ linux }) => linux?.memory?.workingSetBytes?.value),
    processes: sum(({ linux }) => linux?.process?.processCount?.value),
    containers: new Map([...containers].map(([name, stats]) => [name, containerUsage(stats, disk.logs.get(name))])),
    volumes: disk.volumes,
  }
}

const containerUsage = (
  { memory, writableLayer }: ContainerStats,
  logs: ContainerUsage['logs'] = { bytes: 0n, inodes: 0n },
): ContainerUsage => ({
  memoryBytes: memory?.workingSetBytes?.value ?? 0n,
  rootfs: { bytes: writableLayer?.usedBytes?.value ?? 0n, inodes: writableLayer?.inodesUsed?.value ?? 0n },
  logs,
})
