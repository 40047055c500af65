// Metrics of how full the volumes of claims are.
import type { Gauge } from 'prom-client'
import type { MeteredVolume } from '../storage/meter.ts'
import type { Families } from './families.ts'

type ClaimGauge = Gauge<'namespace' | 'persistentvolumeclaim'>

const figures = [
  'capacityBytes',
  'availableBytes',
  'usedBytes',
  'inodes',
  'inodesFree',
  'inodesUsed',
  'abnormal',
] as const

export interface VolumeMetrics {
  claimVolumes: Record<(typeof figures)[number], ClaimGauge>
}

export function volumeMetrics({ gauge }: Families): VolumeMetrics {
  const ofClaims = (name: string, help: string): ClaimGauge =>
    gauge(`kubelet_volume_stats_${name}`, help, ['namespace', 'persistentvolumeclaim'])
  return {
    claimVolumes: {
      capacityBytes: ofClaims('capacity_bytes', 'What the volume of a claim holds, in bytes'),
      availableBytes: ofClaims('available_bytes', 'What is free in the volume of a claim, in bytes'),
      usedBytes: ofClaims('used_bytes', 'What is used of the volume of a claim, in bytes'),
      inodes: ofClaims('inodes', 'How many inodes the volume of a claim may have'),
      inodesFree: ofClaims('inodes_free', 'How many inodes are free in the volume of a claim'),
      inodesUsed: ofClaims('inodes_used', 'How many inodes the volume of a claim has'),
      abnormal: ofClaims('health_status_abnormal', 'Whether the volume of a claim is in a bad condition: 1, or 0'),
    },
  }
}

/** Those of claims, each once, however many pods have it; figures that a driver does not tell are left out. */
export function showVolumes({ claimVolumes: gauges }: VolumeMetrics, volumes: readonly MeteredVolume[]): void {
  for (const figure of figures) gauges[figure].reset()
  for (const { claim, stats } of volumes) {
    if (!claim) continue
    const { bytes, inodes, condition } = stats
    const labels = { namespace: claim.namespace, persistentvolumeclaim: claim.name }
    const values = {
      capacityBytes: bytes?.total,
      availableBytes: bytes?.available,
      usedBytes: bytes?.used,
      inodes: inodes?.total,
      inodesFree: inodes?.available,
      inodesUsed: inodes?.used,
      abnormal: condition && Number(condition.abnormal),
    }
    for (const figure of figures) {
      const value = values[figure]
      if (value !== undefined) gauges[figure].set(labels, value)
    }
  }
}
