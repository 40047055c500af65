// What is told of work on volumes, for metrics.
import type { VolumePlan } from './plan.ts'

export interface VolumeWork {
  /** For instance `kubernetes.io/configmap`. */
  plugin: string
  operation: 'volume_mount' | 'volume_unmount'
  success: boolean
  seconds: number
}

/** The plugin that the Go kubelet names. */
export function pluginOf(plan: VolumePlan): string {
  if (plan.kind === 'csi') return `kubernetes.io/csi:${plan.volume.driver}`
  const names = { emptyDir: 'empty-dir', hostPath: 'host-path', local: 'local-volume', nfs: 'nfs' }
  return `kubernetes.io/${plan.kind === 'files' ? plan.plugin : names[plan.kind]}`
}
