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
export const pluginOf = (plan: VolumePlan): string =>
  `kubernetes.io/${plan.kind === 'files' ? plan.plugin : plan.kind === 'emptyDir' ? 'empty-dir' : 'host-path'}`
