// What is to be done with a claim or a volume, and how both look when they are bound. Pure.
import type { PersistentVolume, PersistentVolumeClaim, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { StorageClass } from 'kubernetes-types/storage/v1.d.ts'
import { quantity } from '../../kinds/quantity.ts'
import { classOf, findVolume, isDelayed, isFor, unfit } from './match.ts'
import { claimsOf } from './pod-claims.ts'

export const bindCompleted = 'pv.kubernetes.io/bind-completed'
export const boundByController = 'pv.kubernetes.io/bound-by-controller'
export const provisionedBy = 'pv.kubernetes.io/provisioned-by'
export const selectedNode = 'volume.kubernetes.io/selected-node'
/** Tells a provisioner that it is wanted. */
export const provisionerNames = [
  'volume.beta.kubernetes.io/storage-provisioner',
  'volume.kubernetes.io/storage-provisioner',
] as const
/** Of classes whose volumes are there already. */
export const noProvisioner = 'kubernetes.io/no-provisioner'

/** An event's text. */
export interface Told {
  type: 'Normal' | 'Warning'
  reason: string
  message: string
}

export type ClaimStep =
  | { kind: 'wait'; told?: Told }
  | { kind: 'bind'; volume: PersistentVolume }
  /** Somebody is to make a volume. */
  | { kind: 'provision'; provisioner: string; told: Told }
  /** It has no class, and there is a default one now. */
  | { kind: 'classify'; name: string }
  | { kind: 'lose'; told: Told }
  | { kind: 'nothing' }

export interface Known {
  volumes: readonly PersistentVolume[]
  classes: readonly StorageClass[]
  pods: readonly Pod[]
  /** The name of the default class. */
  defaultClass?: string | undefined
}

const normal = (reason: string, message: string): Told => ({ type: 'Normal', reason, message })
const warning = (reason: string, message: string): Told => ({ type: 'Warning', reason, message })

export function decideClaim(claim: PersistentVolumeClaim, known: Known): ClaimStep {
  if (claim.metadata?.annotations?.[bindCompleted] !== undefined) return decideBound(claim, known)
  if (claim.metadata?.deletionTimestamp) return { kind: 'nothing' }
  return claim.spec?.volumeName ? decideNamed(claim, claim.spec.volumeName, known) : decideFree(claim, known)
}

/** A claim that may have any volume that fits. */
function decideFree(claim: PersistentVolumeClaim, known: Known): ClaimStep {
  const className = classOf(claim)
  const volumeClass = known.classes.find(({ metadata }) => metadata?.name === className)
  // One that somebody has to use first: only what was made for it, or chosen by the scheduler.
  const delayed = isDelayed(volumeClass)
  const found = findVolume(
    claim,
    known.volumes.filter((volume) => !delayed || volume.spec?.claimRef),
  )
  if (found) return { kind: 'bind', volume: found }
  if (claim.spec?.storageClassName === undefined && className === '' && known.defaultClass !== undefined) {
    return { kind: 'classify', name: known.defaultClass }
  }
  if (delayed && claim.metadata?.annotations?.[selectedNode] === undefined) {
    return { kind: 'wait', told: waitingFor(claim, known.pods) }
  }
  if (className === '') {
    const text = 'no persistent volumes available for this claim and no storage class is set'
    return { kind: 'wait', told: normal('FailedBinding', text) }
  }
  if (!volumeClass) {
    return { kind: 'wait', told: warning('ProvisioningFailed', `storageclass.storage.k8s.io "${className}" not found`) }
  }
  const { provisioner } = volumeClass
  if (provisioner === noProvisioner) return { kind: 'wait' }
  const text = `Waiting for a volume to be created either by the external provisioner '${provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.`
  return { kind: 'provision', provisioner, told: normal('ExternalProvisioning', text) }
}

function waitingFor(claim: PersistentVolumeClaim, pods: readonly Pod[]): Told {
  const names = pods
    .filter(
      (pod) =>
        !pod.spec?.nodeName &&
        pod.metadata?.namespace === claim.metadata?.namespace &&
        claimsOf(pod).some(({ name }) => name === claim.metadata?.name),
    )
    .map(({ metadata }) => metadata?.name ?? '')
  if (names.length === 0) {
    return normal('WaitForFirstConsumer', 'waiting for first consumer to be created before binding')
  }
  return normal(
    'WaitForPodScheduled',
    `waiting for pod${names.length > 1 ? 's' : ''} ${names.join(',')} to be scheduled`,
  )
}

/** A claim that wants one volume and no other. */
function decideNamed(claim: PersistentVolumeClaim, name: string, { volumes }: Known): ClaimStep {
  const volume = volumes.find(({ metadata }) => metadata?.name === name)
  if (!volume) return { kind: 'wait' }
  if (!volume.spec?.claimRef) {
    const why = unfit(volume, claim)
    return why === undefined
      ? { kind: 'bind', volume }
      : { kind: 'wait', told: warning('VolumeMismatch', `Cannot bind to requested volume "${name}": ${why}`) }
  }
  if (isFor(volume, claim)) return { kind: 'bind', volume }
  return { kind: 'wait', told: warning('FailedBinding', `volume "${name}" already bound to a different claim.`) }
}

/** A claim that was bound once. */
function decideBound(claim: PersistentVolumeClaim, { volumes }: Known): ClaimStep {
  const lose = (reason: string, message: string): ClaimStep =>
    claim.status?.phase === 'Lost' ? { kind: 'nothing' } : { kind: 'lose', told: warning(reason, message) }
  const name = claim.spec?.volumeName
  if (!name) {
    return lose('ClaimLost', 'Bound claim has lost reference to PersistentVolume. Data on the volume is lost!')
  }
  const volume = volumes.find(({ metadata }) => metadata?.name === name)
  if (!volume) return lose('ClaimLost', 'Bound claim has lost its PersistentVolume. Data on the volume is lost!')
  const reference = volume.spec?.claimRef
  if (!reference || reference.uid === claim.metadata?.uid) return { kind: 'bind', volume }
  return lose('ClaimMisbound', 'Two claims are bound to the same volume, this one is bound incorrectly')
}

type VolumePhase = 'Available' | 'Bound' | 'Released' | 'Failed'

export type VolumeStep =
  | { kind: 'phase'; phase: VolumePhase; message?: string; told?: Told }
  /** Its claim is not wanted any more: it is free again, or waits for the claim that it was made for. */
  | { kind: 'unbind' }
  /** The claim has to be looked at. */
  | { kind: 'claim' }
  | { kind: 'nothing' }

/** @param claim that the volume's `claimRef` names, and is of its UID */
export function decideVolume(volume: PersistentVolume, claim: PersistentVolumeClaim | undefined): VolumeStep {
  const { spec, status, metadata } = volume
  const enter = (phase: VolumePhase): VolumeStep =>
    status?.phase === phase ? { kind: 'nothing' } : { kind: 'phase', phase }
  if (!spec?.claimRef?.uid) return enter('Available')
  if (!claim) return released(volume)
  if (!claim.spec?.volumeName) return { kind: 'claim' }
  if (claim.spec.volumeName === metadata?.name) return enter('Bound')
  const isMade = metadata?.annotations?.[provisionedBy] !== undefined
  return isMade && spec.persistentVolumeReclaimPolicy === 'Delete' ? released(volume) : { kind: 'unbind' }
}

/** Nobody has it any more. What a provisioner made the provisioner deletes. */
function released({ metadata, spec, status }: PersistentVolume): VolumeStep {
  const phase = status?.phase
  if (phase !== 'Released' && phase !== 'Failed') return { kind: 'phase', phase: 'Released' }
  const fail = (reason: string, message: string): VolumeStep =>
    phase === 'Failed'
      ? { kind: 'nothing' }
      : { kind: 'phase', phase: 'Failed', message, told: warning(reason, message) }
  switch (spec?.persistentVolumeReclaimPolicy) {
    case 'Recycle':
      return fail('VolumeFailedRecycle', 'No recycler plugin found for the volume!')
    case 'Delete':
      return metadata?.annotations?.[provisionedBy] !== undefined
        ? { kind: 'nothing' }
        : fail(
            'VolumeFailedDelete',
            `error getting deleter volume plugin for volume "${metadata?.name}": no deletable volume plugin matched`,
          )
    default:
      return { kind: 'nothing' }
  }
}

/** The volume as it is when the claim has it; undefined when it is so already. */
export function boundVolume(
  volume: PersistentVolume,
  { metadata }: PersistentVolumeClaim,
): PersistentVolume | undefined {
  const reference = volume.spec?.claimRef
  const { uid = '', name = '', namespace = '', resourceVersion = '' } = metadata ?? {}
  if (reference?.uid === uid) return undefined
  const isReserved = reference?.name === name && reference.namespace === namespace
  const claimRef = { kind: 'PersistentVolumeClaim', namespace, name, uid, apiVersion: 'v1', resourceVersion }
  const annotations = { ...volume.metadata?.annotations, ...(!isReserved && { [boundByController]: 'yes' }) }
  return { ...volume, metadata: { ...volume.metadata, annotations }, spec: { ...volume.spec, claimRef } }
}

/** The claim as it is when it has the volume; undefined when it is so already. */
export function boundClaim(claim: PersistentVolumeClaim, volume: PersistentVolume): PersistentVolumeClaim | undefined {
  const volumeName = volume.metadata?.name ?? ''
  const before = claim.metadata?.annotations ?? {}
  const isNamed = claim.spec?.volumeName === volumeName
  if (isNamed && before[bindCompleted] !== undefined) return undefined
  const annotations = { ...before, ...(!isNamed && { [boundByController]: 'yes' }), [bindCompleted]: 'yes' }
  return { ...claim, metadata: { ...claim.metadata, annotations }, spec: { ...claim.spec, volumeName } }
}

/** What the claim's status becomes; undefined when it is so already. */
export function boundStatus(
  { status }: PersistentVolumeClaim,
  { spec }: PersistentVolume,
): NonNullable<PersistentVolumeClaim['status']> | undefined {
  const accessModes = spec?.accessModes ?? []
  const isBound = status?.phase === 'Bound'
  if (isBound && JSON.stringify(status.accessModes) === JSON.stringify(accessModes)) return undefined
  // What a bound claim has is told by who makes it larger.
  const capacity = isBound ? {} : { capacity: { ...spec?.capacity } }
  return { ...status, phase: 'Bound', accessModes, ...capacity }
}

/** The volume without its claim; one that was reserved for a claim stays so. */
export function unboundVolume(volume: PersistentVolume): PersistentVolume {
  const { [boundByController]: mark, ...annotations } = volume.metadata?.annotations ?? {}
  const { claimRef, ...spec } = volume.spec ?? {}
  const { uid: _, ...reserved } = claimRef ?? {}
  return {
    ...volume,
    metadata: { ...volume.metadata, annotations },
    spec: mark === undefined && claimRef ? { ...spec, claimRef: reserved } : spec,
  }
}

/** Whether a volume has grown beyond what its claim has. */
export const isLarger = (a: string | undefined, b: string | undefined): boolean =>
  quantity(a ?? '0') > quantity(b ?? '0')
