// fsGroup: the group that owns what is in a volume.
import { giveToGroup as give } from '@nodelet/csi-node'
import type { PodSecurityContext } from 'kubernetes-types/core/v1.d.ts'

/** Gives a volume to the pod's fsGroup: read and write for the group, and new files inherit it. Links are not followed. */
export async function giveToGroup(
  root: string,
  { fsGroup: gid, fsGroupChangePolicy: policy }: PodSecurityContext,
  signal?: AbortSignal,
): Promise<void> {
  if (gid !== undefined) await give(root, { gid, policy, signal })
}
