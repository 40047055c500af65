// Which claims a pod's volumes are. Pure.
import type { PersistentVolumeClaim, Pod, Volume } from 'kubernetes-types/core/v1.d.ts'

/** A volume of a pod that is a claim. */
export interface PodClaim {
  volume: Volume
  /** Of the claim, in the pod's namespace. */
  name: string
  /** Made for this pod, and gone with it. */
  isEphemeral: boolean
}

export function claimsOf(pod: Pod): PodClaim[] {
  return (pod.spec?.volumes ?? []).flatMap((volume): PodClaim[] => {
    const { persistentVolumeClaim: claim, ephemeral, name } = volume
    if (claim) return [{ volume, name: claim.claimName, isEphemeral: false }]
    return ephemeral ? [{ volume, name: `${pod.metadata?.name}-${name}`, isEphemeral: true }] : []
  })
}

/** Why a pod can't have this claim for its own volume; undefined when it was made for the pod. */
export function notForPod(pod: Pod, { metadata }: PersistentVolumeClaim): string | undefined {
  const owner = metadata?.ownerReferences?.find(({ controller }) => controller === true)
  if (owner?.uid === pod.metadata?.uid && metadata?.namespace === pod.metadata?.namespace) return undefined
  const { namespace, name } = pod.metadata ?? {}
  return `PVC ${metadata?.namespace}/${metadata?.name} was not created for pod ${namespace}/${name} (pod is not owner)`
}

/** Whether a pod that is on a node has the claim, so that it may not go. */
export function isUsedBy(pod: Pod, claim: PersistentVolumeClaim): boolean {
  if (!pod.spec?.nodeName || pod.metadata?.namespace !== claim.metadata?.namespace) return false
  const isShutDown = Boolean(pod.metadata?.deletionTimestamp) && pod.metadata?.deletionGracePeriodSeconds === 0
  return claimsOf(pod).some(
    ({ name, isEphemeral }) =>
      name === claim.metadata?.name && (!isEphemeral || (!isShutDown && notForPod(pod, claim) === undefined)),
  )
}
