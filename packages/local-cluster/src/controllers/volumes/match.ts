// Which volume a claim can have. Pure.
import { labelSelectorOf, matchesLabels, matchesNodeSelector } from '@nodelet/kube-client'
import type { Node, PersistentVolume, PersistentVolumeClaim } from 'kubernetes-types/core/v1.d.ts'
import type { StorageClass } from 'kubernetes-types/storage/v1.d.ts'
import { quantity } from '../../kinds/quantity.ts'

/** Named a class before there was a field. */
const oldClass = 'volume.beta.kubernetes.io/storage-class'

/** Empty: no class. */
export const classOf = ({ metadata, spec }: PersistentVolume | PersistentVolumeClaim): string =>
  metadata?.annotations?.[oldClass] ?? spec?.storageClassName ?? ''

const requested = ({ spec }: PersistentVolumeClaim): number => quantity(spec?.resources?.requests?.storage ?? '0')
const capacity = ({ spec }: PersistentVolume): number => quantity(spec?.capacity?.storage ?? '0')
const modeOf = (spec: { volumeMode?: string } | undefined): string => spec?.volumeMode ?? 'Filesystem'
const hasModes = (volume: PersistentVolume, claim: PersistentVolumeClaim): boolean =>
  (claim.spec?.accessModes ?? []).every((mode) => volume.spec?.accessModes?.includes(mode))

/** Whether a volume's `claimRef` is this claim, or its name before there was one. */
export function isFor({ spec }: PersistentVolume, { metadata }: PersistentVolumeClaim): boolean {
  const reference = spec?.claimRef
  return (
    reference?.name === metadata?.name &&
    reference?.namespace === metadata?.namespace &&
    (!reference?.uid || reference.uid === metadata?.uid)
  )
}

/** Why the volume that a claim names is not to be bound to it; undefined when it may. */
export function unfit(volume: PersistentVolume, claim: PersistentVolumeClaim): string | undefined {
  if (volume.metadata?.deletionTimestamp) return `the volume is marked for deletion "${volume.metadata.name}"`
  if (capacity(volume) < requested(claim)) return 'requested PV is too small'
  if (classOf(volume) !== classOf(claim)) return 'storageClassName does not match'
  if (modeOf(volume.spec) !== modeOf(claim.spec)) return 'incompatible volumeMode'
  return hasModes(volume, claim) ? undefined : 'incompatible accessMode'
}

/** Whether the volume can be used on the node. */
export const isReachable = ({ spec }: PersistentVolume, node: Node): boolean =>
  spec?.nodeAffinity?.required === undefined || matchesNodeSelector(spec.nodeAffinity.required, node)

/** Whether a class waits for a pod before it binds. */
export const isDelayed = (volumeClass: StorageClass | undefined): boolean =>
  volumeClass?.volumeBindingMode === 'WaitForFirstConsumer'

/**
 * The best volume for a claim: one that was made for it, else of those with the fewest access modes the smallest.
 * @param node where it must be usable; undefined: nobody has said yet
 * @param taken names of volumes that others are about to have
 */
export function findVolume(
  claim: PersistentVolumeClaim,
  volumes: readonly PersistentVolume[],
  { node, taken = new Set() }: { node?: Node; taken?: ReadonlySet<string> } = {},
): PersistentVolume | undefined {
  const candidates = volumes.filter(
    (volume) =>
      !taken.has(volume.metadata?.name ?? '') &&
      !volume.metadata?.deletionTimestamp &&
      capacity(volume) >= requested(claim) &&
      modeOf(volume.spec) === modeOf(claim.spec) &&
      hasModes(volume, claim),
  )
  const own = candidates.find((volume) => volume.spec?.claimRef && isFor(volume, claim))
  if (own) return node && !isReachable(own, node) ? undefined : own
  const selector = claim.spec?.selector
  const requirements = selector ? labelSelectorOf(selector) : []
  const free = candidates.filter(
    (volume) =>
      !volume.spec?.claimRef &&
      volume.status?.phase === 'Available' &&
      classOf(volume) === classOf(claim) &&
      matchesLabels(requirements, volume.metadata?.labels ?? {}) &&
      (!node || isReachable(volume, node)),
  )
  const modes = ({ spec }: PersistentVolume): number => spec?.accessModes?.length ?? 0
  return free.toSorted(
    (a, b) =>
      modes(a) - modes(b) ||
      capacity(a) - capacity(b) ||
      ((a.metadata?.name ?? '') < (b.metadata?.name ?? '') ? -1 : 1),
  )[0]
}
