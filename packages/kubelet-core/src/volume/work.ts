// What is told of work on volumes, for metrics.
import type { VolumePlan } from './plan.ts'

export interface VolumeWork {
  /** For instance `kubernetes.io/configmap`. */
  plugin: string
  /** As the Go kubelet's metrics name it. */
  operation:
    | 'volume_mount'
    | 'volume_unmount'
    | 'map_volume'
    | 'unmap_volume'
    | 'unmount_device'
    | 'unmap_device'
    | 'volume_fs_resize'
    | 'verify_controller_attached_volume'
    | 'volume_apply_access_control'
  /** Of a volume that was one of a cloud provider's. */
  migrated: boolean
  success: boolean
  seconds: number
}

/** The plugin that the Go kubelet names. */
export function pluginOf(plan: VolumePlan): string {
  if (plan.kind === 'csi') return `kubernetes.io/csi:${plan.volume.driver}`
  if (plan.kind === 'scsi') return `kubernetes.io/${plan.target.kind}`
  const names = { emptyDir: 'empty-dir', hostPath: 'host-path', local: 'local-volume', nfs: 'nfs' }
  return `kubernetes.io/${plan.kind === 'files' ? plan.plugin : names[plan.kind]}`
}

/**
 * Work that was not tried, or that nobody waits for any more, is not told of.
 * @returns what tells of a piece of work once it has ended, and gives what it comes to
 */
export function timing(
  worked: ((work: VolumeWork) => void) | undefined,
  plugin: string,
  { migrated = false, signal }: { migrated?: boolean | undefined; signal?: AbortSignal } = {},
): <T>(operation: VolumeWork['operation'], work: Promise<T>) => Promise<T> {
  return async (operation, work) => {
    const beganMs = performance.now()
    const tell = (success: boolean): void =>
      worked?.({ plugin, operation, migrated, success, seconds: (performance.now() - beganMs) / 1000 })
    try {
      const result = await work
      tell(true)
      return result
    } catch (error) {
      const isRepeat = error instanceof Error && 'isRepeat' in error && error.isRepeat === true
      if (!isRepeat && !signal?.aborted) tell(false)
      throw error
    }
  }
}
