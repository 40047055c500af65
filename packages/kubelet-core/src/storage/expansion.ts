// Growing a volume on its node: what a claim and its PersistentVolume call for, and what the claim is told. Pure.
import { CsiError, csiErrorKind, type CsiErrorKind, CsiVolumeError } from '@nodelet/csi-node'
import type { PersistentVolume, PersistentVolumeClaim } from 'kubernetes-types/core/v1.d.ts'
import { apiTime } from '../pod/time.ts'
import { parseQuantity } from '../quantity.ts'

type ClaimStatus = NonNullable<PersistentVolumeClaim['status']>
type Condition = NonNullable<ClaimStatus['conditions']>[number]

/**
 * What is to be done for a volume of a pod:
 * - `none`: it is as large as it should be;
 * - `wait`: another's turn, a controller's usually, or nobody's any more;
 * - `refuse`: it would grow, but the pod may only read it;
 * - `expand`: to `storage`, as the claim's status names it. `begin` tells the claim first, `resume` has told it, `plain` is for claims
 *   of controllers that know no states, and `repeat` for a shared volume that grew on another node, whose claim knows.
 */
export type ExpansionStep =
  | { kind: 'none' | 'wait' | 'refuse' }
  | { kind: 'expand'; storage: string; how: 'begin' | 'resume' | 'plain' | 'repeat' }

export interface ExpansionFacts {
  claim: PersistentVolumeClaim
  volume: PersistentVolume
  readOnly: boolean
  /** What the volume has on this node. */
  knownBytes: bigint
}

const notRequired = 'volume.kubernetes.io/node-expansion-not-required'

export const volumeBytes = ({ spec }: PersistentVolume): bigint => parseQuantity(spec?.capacity?.['storage'] ?? '0')
export const claimBytes = ({ status }: PersistentVolumeClaim): bigint =>
  parseQuantity(status?.capacity?.['storage'] ?? '0')

export function expansionStep({ claim, volume, readOnly, knownBytes }: ExpansionFacts): ExpansionStep {
  const storage = volume.spec?.capacity?.['storage']
  if (storage === undefined || volumeBytes(volume) <= knownBytes) return { kind: 'none' }
  if (readOnly) return { kind: 'refuse' }
  const { allocatedResources, allocatedResourceStatuses } = claim.status ?? {}
  const allocated = allocatedResources?.['storage']
  const state = allocatedResourceStatuses?.['storage'] ?? ''
  if (state === 'NodeResizePending') return { kind: 'expand', storage: allocated ?? storage, how: 'begin' }
  if (state === 'NodeResizeInProgress') return { kind: 'expand', storage: allocated ?? storage, how: 'resume' }
  if (state !== '') return { kind: 'wait' }
  if (claimBytes(claim) < volumeBytes(volume)) {
    return allocated === undefined ? { kind: 'expand', storage, how: 'plain' } : { kind: 'wait' }
  }
  const isShared = volume.spec?.accessModes?.includes('ReadWriteMany') ?? false
  return isShared && claim.metadata?.annotations?.[notRequired] === undefined
    ? { kind: 'expand', storage, how: 'repeat' }
    : { kind: 'none' }
}

/** Whether nobody has begun another expansion, or ended this one. */
export function isSameExpansion(one: PersistentVolumeClaim, other: PersistentVolumeClaim): boolean {
  const [a, b] = [one.status, other.status]
  return (['allocatedResources', 'allocatedResourceStatuses'] as const).every(
    (field) => a?.[field]?.['storage'] === b?.[field]?.['storage'],
  )
}

/** A merge patch of a claim's status. */
export type StatusPatch = Record<string, unknown>

export const begunStatus = (): StatusPatch => ({ allocatedResourceStatuses: { storage: 'NodeResizeInProgress' } })

const ofResizes: ReadonlySet<string> = new Set([
  'Resizing',
  'FileSystemResizePending',
  'ControllerResizeError',
  'NodeResizeError',
])

export function finishedStatus({ status }: PersistentVolumeClaim, storage: string): StatusPatch {
  const states = Object.keys(status?.allocatedResourceStatuses ?? {})
  const conditions = (status?.conditions ?? []).filter(({ type }) => !ofResizes.has(type))
  return {
    capacity: { storage },
    allocatedResourceStatuses: states.some((name) => name !== 'storage') ? { storage: null } : null,
    conditions: conditions.length > 0 ? conditions : null,
  }
}

/** Undefined: the claim says so already. @param failure how NodeExpandVolume failed for good */
export function failedStatus(
  { status }: PersistentVolumeClaim,
  failure: ExpansionFailure,
  nowMs: number,
): StatusPatch | undefined {
  const type = 'NodeResizeError'
  const message = `failed to expand pvc with ${failure.message}`
  const old = status?.conditions ?? []
  const before = old.find((one) => one.type === type && one.status === 'True')
  const state = status?.allocatedResourceStatuses?.['storage']
  if (before?.message === message && (!failure.isInfeasible || state === 'NodeResizeInfeasible')) return undefined
  const condition: Condition = {
    type,
    status: 'True',
    lastProbeTime: null as never,
    lastTransitionTime: before?.lastTransitionTime ?? (apiTime(nowMs) as never),
    message,
  }
  return {
    ...(failure.isInfeasible && { allocatedResourceStatuses: { storage: 'NodeResizeInfeasible' } }),
    conditions: [...old.filter((one) => one.type !== type), condition],
  }
}

export interface ExpansionFailure {
  kind: CsiErrorKind
  /** In the words of the Go kubelet. */
  message: string
  /** It need not be tried again: the driver never can. */
  isInfeasible: boolean
  /** The driver does not do it while the volume is in use here. */
  isInUse: boolean
  /** It was not tried: it is the failure of before. */
  isRepeat: boolean
}

const infeasible: ReadonlySet<string> = new Set(['INVALID_ARGUMENT', 'OUT_OF_RANGE', 'NOT_FOUND'])

/** @param error of `CsiVolumes.expand` */
export function expansionFailure(error: unknown): ExpansionFailure {
  const cause = error instanceof CsiVolumeError ? error.cause : error
  const isRepeat = error instanceof CsiVolumeError && error.isRepeat
  const text = cause instanceof Error ? cause.message : String(cause)
  const code = cause instanceof CsiError && cause.kind === 'final' ? cause.code : undefined
  return {
    kind: csiErrorKind(cause),
    message: cause instanceof CsiError ? `Expander.NodeExpand failed to expand the volume : ${text}` : text,
    isInfeasible: code !== undefined && infeasible.has(code),
    isInUse: code === 'FAILED_PRECONDITION',
    isRepeat,
  }
}
