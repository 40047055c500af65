// Which PersistentVolume a pod's volume is, and whether the pod may have it. Pure.
import type {
  Container,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  Volume,
} from 'kubernetes-types/core/v1.d.ts'
import { matchesNodeSelector } from '@nodelet/kube-client'

/** A claim of a pod. */
export interface WantedClaim {
  /** Of the volume in the pod. */
  volume: string
  /** Of the claim. */
  name: string
  readOnly: boolean
  /** Made for this volume of this pod alone. */
  isEphemeral: boolean
}

/** A claim with the volume that it is bound to. */
export interface BoundVolume {
  claim: PersistentVolumeClaim
  volume: PersistentVolume
  readOnly: boolean
}

/** Those of volumes that containers of the pod use. */
export function wantedClaims(pod: Pod, isUsed: (volume: string) => boolean): WantedClaim[] {
  return (pod.spec?.volumes ?? []).flatMap(({ name, persistentVolumeClaim, ephemeral }: Volume): WantedClaim[] => {
    if (!isUsed(name)) return []
    if (persistentVolumeClaim) {
      const { claimName, readOnly = false } = persistentVolumeClaim
      return [{ volume: name, name: claimName, readOnly, isEphemeral: false }]
    }
    if (ephemeral) {
      return [{ volume: name, name: `${pod.metadata?.name}-${name}`, readOnly: false, isEphemeral: true }]
    }
    return []
  })
}

const protection = 'kubernetes.io/pvc-protection'

/**
 * The name of the volume that a claim is bound to.
 * @param isMounted whether this pod has it already: then it may be on its way out, as may one that is protected while pods have it
 * @throws Error in upstream's words
 */
export function volumeOfClaim(
  pod: Pod,
  { name, isEphemeral }: WantedClaim,
  claim: PersistentVolumeClaim | undefined,
  isMounted: (volumeName: string) => boolean,
): string {
  const namespace = pod.metadata?.namespace ?? 'default'
  const refuse = (why: string): never => {
    throw new Error(`error processing PVC ${namespace}/${name}: ${why}`)
  }
  if (!claim) return refuse(`failed to fetch PVC from API server: persistentvolumeclaim "${name}" not found`)
  const { metadata, spec, status } = claim
  if (isEphemeral && !metadata?.ownerReferences?.some((one) => one.controller && one.uid === pod.metadata?.uid)) {
    const whose = `PVC ${namespace}/${name} was not created for pod ${namespace}/${pod.metadata?.name}`
    return refuse(`${whose} (pod is not owner)`)
  }
  const volumeName = spec?.volumeName ?? ''
  const isGoing = metadata?.deletionTimestamp && !metadata.finalizers?.includes(protection)
  if (isGoing && !isMounted(volumeName)) return refuse('PVC is being deleted')
  if (status?.phase !== 'Bound' || volumeName === '') return refuse('PVC is not bound')
  return volumeName
}

/** @throws Error in upstream's words */
export function boundVolume(
  pod: Pod,
  wanted: WantedClaim,
  claim: PersistentVolumeClaim,
  volume: PersistentVolume | undefined,
): BoundVolume {
  const name = claim.spec?.volumeName ?? ''
  const refuse = (why: string): never => {
    throw new Error(`error processing PVC ${pod.metadata?.namespace ?? 'default'}/${wanted.name}: ${why}`)
  }
  if (!volume) return refuse(`failed to fetch PV ${name} from API server: persistentvolume "${name}" not found`)
  const { claimRef, volumeMode = 'Filesystem' } = volume.spec ?? {}
  if (!claimRef) {
    return refuse(
      `found PV object ${name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim`,
    )
  }
  const uid = claim.metadata?.uid
  if (claimRef.uid !== uid) {
    return refuse(
      `found PV object ${name} but its pv.Spec.ClaimRef.UID ${claimRef.uid} does not point to claim.UID ${uid}`,
    )
  }
  checkMode(pod, wanted.volume, volumeMode)
  return { claim, volume, readOnly: wanted.readOnly }
}

function checkMode({ spec }: Pod, name: string, volumeMode: string): void {
  const containers: Pick<Container, 'volumeMounts' | 'volumeDevices'>[] = [
    ...(spec?.initContainers ?? []),
    ...(spec?.containers ?? []),
    ...(spec?.ephemeralContainers ?? []),
  ]
  const wrong = volumeMode === 'Block' ? 'volumeMounts' : 'volumeDevices'
  if (!containers.some((container) => container[wrong]?.some((one) => one.name === name))) return
  throw new Error(`volume ${name} has volumeMode ${volumeMode}, but is specified in ${wrong}`)
}

const optionsAnnotation = 'volume.beta.kubernetes.io/mount-options'

/** A sorted set. */
export function mountOptionsOf({ metadata, spec }: PersistentVolume): string[] {
  const old = metadata?.annotations?.[optionsAnnotation]
  return [...new Set(old ? old.split(',') : spec?.mountOptions)].toSorted()
}

const groupAnnotation = 'pv.beta.kubernetes.io/gid'

/** Groups that volumes say are theirs, save those that the pod names itself. What is no number of a group is left out. */
export function volumeGroups({ spec }: Pod, volumes: readonly PersistentVolume[]): bigint[] {
  const own = new Set(spec?.securityContext?.supplementalGroups)
  const groups = volumes.flatMap(({ metadata }) => {
    const text = metadata?.annotations?.[groupAnnotation] ?? ''
    const gid = /^(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|[1-9]\d*)$/.test(text) ? Number(goNumber(text)) : NaN
    return gid > 0 && gid <= largestGid && !own.has(gid) ? [gid] : []
  })
  return [...new Set(groups)].map(BigInt)
}

const largestGid = 2 ** 31 - 1

/** Go takes a leading 0 for octal. */
const goNumber = (text: string): string => text.replace(/^0(?=[0-7])/, '0o')

/** @throws Error in upstream's words: the volume cannot be reached from this node */
export function checkAffinity({ spec }: PersistentVolume, node: Node | undefined): void {
  const required = spec?.nodeAffinity?.required
  if (!required || !node || matchesNodeSelector(required, node)) return
  throw new Error('no matching NodeSelectorTerms')
}
