// How a driver is told that a volume is used. Pure.
import { accessMode } from '../driver/access-mode.ts'
import type { NodeCapabilities } from '../driver/answers.ts'
import type { VolumeCapability } from '../driver/requests.ts'
import type { CsiPod, CsiVolume, DriverSettings } from './types.ts'

/** @throws RangeError: an access mode that Kubernetes does not have */
export function volumeCapability(volume: CsiVolume, pod: CsiPod, capabilities: NodeCapabilities): VolumeCapability {
  const mode = accessMode(volume.accessModes, capabilities)
  if (volume.volumeMode === 'Block') return { volumeMode: 'Block', accessMode: mode }
  const group = capabilities.volumeMountGroup && pod.fsGroup !== undefined ? String(pod.fsGroup) : undefined
  return {
    volumeMode: 'Filesystem',
    accessMode: mode,
    fsType: volume.fsType,
    mountFlags: [...(volume.mountOptions ?? []), ...(volume.seLinuxLabel ? [`context="${volume.seLinuxLabel}"`] : [])],
    ...(group !== undefined && { volumeMountGroup: group }),
  }
}

const singleWriter = new Set(['ReadWriteOnce', 'ReadWriteOncePod'])

/** Whether the node itself gives the volume's files to the pod's group. */
export function givesToGroup(
  volume: CsiVolume,
  { fsGroup }: Pick<CsiPod, 'fsGroup'>,
  settings: DriverSettings | undefined,
  capabilities: Pick<NodeCapabilities, 'volumeMountGroup'>,
): boolean {
  if (fsGroup === undefined || volume.readOnly || volume.volumeMode === 'Block') return false
  if (capabilities.volumeMountGroup) return false
  const policy = settings?.fsGroupPolicy ?? 'ReadWriteOnceWithFSType'
  if (policy === 'None') return false
  if (policy === 'File') return true
  if (!volume.fsType) return false
  return volume.lifecycle === 'Ephemeral' || volume.accessModes.some((mode) => singleWriter.has(mode))
}
