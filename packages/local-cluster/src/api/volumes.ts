// What the server does to volumes and claims beside storing them: finalizers, the default class, who may grow. Pure.
import { fieldsAt, isFields, timeNow } from '../object.ts'
import type { ApiObject, Fields, Metadata } from '../object.ts'
import { quantity } from '../kinds/quantity.ts'

/** They stay until nobody uses them. */
const protection: Readonly<Record<string, string>> = {
  persistentvolumes: 'kubernetes.io/pv-protection',
  persistentvolumeclaims: 'kubernetes.io/pvc-protection',
}
const defaultMarks = ['storageclass.kubernetes.io/is-default-class', 'storageclass.beta.kubernetes.io/is-default-class']
/** Named a class before there was a field. */
const oldClass = 'volume.beta.kubernetes.io/storage-class'

/** Completes a new volume or claim. @param classes the StorageClasses that there are */
export function completeVolume(resource: string, object: ApiObject, classes: () => readonly ApiObject[]): void {
  const finalizer = protection[resource]
  if (finalizer === undefined) return
  const { metadata } = object
  if (!metadata.finalizers?.includes(finalizer)) metadata.finalizers = [...(metadata.finalizers ?? []), finalizer]
  if (resource === 'persistentvolumes') {
    object.status = { phase: 'Pending', lastPhaseTransitionTime: timeNow() }
    return
  }
  const spec = fieldsAt(object, 'spec')
  copyDataSource(spec)
  if (spec.storageClassName === undefined && metadata.annotations?.[oldClass] === undefined) {
    const name = defaultClass(classes())
    if (name !== undefined) spec.storageClassName = name
  }
}

/** Of several default classes the newest, by name when they are of one second. */
export function defaultClass(classes: readonly { metadata: Metadata }[]): string | undefined {
  const marked = classes.filter(({ metadata: { annotations } }) =>
    defaultMarks.some((mark) => annotations?.[mark] === 'true'),
  )
  const ranked = marked.toSorted(
    (a, b) =>
      Date.parse(b.metadata.creationTimestamp ?? '') - Date.parse(a.metadata.creationTimestamp ?? '') ||
      (a.metadata.name < b.metadata.name ? -1 : 1),
  )
  return ranked[0]?.metadata.name
}

/** Old and new clients write different fields for the same. */
function copyDataSource(spec: Fields): void {
  const { dataSource, dataSourceRef } = spec
  if (isFields(dataSource) && dataSourceRef === undefined) spec.dataSourceRef = structuredClone(dataSource)
  else if (isFields(dataSourceRef) && dataSource === undefined && !dataSourceRef.namespace) {
    spec.dataSource = structuredClone(dataSourceRef)
  }
}

/** Notes when a volume came to its phase, unless who writes it does. */
export function notePhase(before: ApiObject, after: ApiObject): void {
  const [old, now] = [fieldsAt(structuredClone(before), 'status'), fieldsAt(after, 'status')]
  const isNoted = now.lastPhaseTransitionTime && now.lastPhaseTransitionTime !== old.lastPhaseTransitionTime
  if (old.phase !== now.phase && !isNoted) now.lastPhaseTransitionTime = timeNow()
}

const partOf = (object: Fields, key: string): Fields => (isFields(object[key]) ? object[key] : {})

/** Why a claim may not be larger than before; undefined when it is not, or may. */
export function growthRefused(
  before: ApiObject,
  after: ApiObject,
  classOf: (name: string) => ApiObject | undefined,
): string | undefined {
  const sizeOf = (claim: ApiObject): number =>
    quantity(partOf(partOf(partOf(claim, 'spec'), 'resources'), 'requests').storage)
  if (!(sizeOf(after) > sizeOf(before))) return undefined
  if (partOf(before, 'status').phase !== 'Bound') return 'Only bound persistent volume claims can be expanded'
  const nameOf = (claim: ApiObject): unknown =>
    claim.metadata.annotations?.[oldClass] ?? partOf(claim, 'spec').storageClassName
  const [old, now] = [nameOf(before), nameOf(after)]
  const named = typeof now === 'string' && now !== '' && now === old ? classOf(now) : undefined
  return named?.allowVolumeExpansion === true
    ? undefined
    : 'only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize'
}
