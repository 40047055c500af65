// fsGroup: the group that owns what is in a volume.
import { giveToGroup as give } from '@nodelet/csi-node'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { NodeletEvent } from '../events.ts'

const advice =
  'consider using OnRootMismatch - https://kubernetes.io/docs/tasks/configure-pod-container/security-context/#configure-volume-permission-and-ownership-change-policy-for-pods'

/** Told while a volume with many files gets another group. */
export const ownershipEvent = (volume: string, count: number): NodeletEvent => ({
  type: 'Warning',
  reason: 'VolumePermissionChangeInProgress',
  message: `Setting volume ownership for ${volume} is taking longer than expected, ${advice} (${count} files so far)`,
})

export interface OwnershipContext {
  /** The volume, for events. */
  volume: string
  tell?: ((event: NodeletEvent) => void) | undefined
  signal?: AbortSignal | undefined
  /** It may have been given before: then it is not looked through again. */
  isBegun?: boolean
}

/** Gives a volume to the pod's fsGroup: read and write for the group, and new files inherit it. Links are not followed. */
export async function giveToGroup(
  root: string,
  { spec }: Pod,
  { volume, tell, signal, isBegun = false }: OwnershipContext,
): Promise<void> {
  const { fsGroup: gid, fsGroupChangePolicy } = spec?.securityContext ?? {}
  const policy = isBegun ? 'OnRootMismatch' : fsGroupChangePolicy
  if (gid === undefined) return
  await give(root, { gid, policy, signal, progress: (count) => tell?.(ownershipEvent(volume, count)) })
}
