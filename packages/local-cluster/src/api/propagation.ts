// What becomes of the objects that a deleted one owns. Pure.
import type { DeleteOptions } from 'kubernetes-types/meta/v1.d.ts'
import { sameJson } from '../object.ts'
import type { Metadata } from '../object.ts'
import { badRequest, invalid, unsupported } from './errors.ts'

/** An owner with this finalizer stays until what it owns is let go. */
export const orphanFinalizer = 'orphan'
/** An owner with this finalizer stays until what it owns is gone. */
export const foregroundFinalizer = 'foregroundDeletion'

const finalizerOf: Readonly<Record<string, string[]>> = {
  Background: [],
  Foreground: [foregroundFinalizer],
  Orphan: [orphanFinalizer],
}

/** Writes down how an object is to be deleted; false when that changes nothing. @throws ApiError */
export function setFinalizers(metadata: Metadata, { propagationPolicy, orphanDependents }: DeleteOptions): boolean {
  if (propagationPolicy !== undefined && orphanDependents !== undefined) {
    throw badRequest('orphanDependents and deletionPropagation cannot be both set')
  }
  const policy =
    propagationPolicy ?? (orphanDependents === undefined ? undefined : orphanDependents ? 'Orphan' : 'Background')
  if (policy === undefined) return false
  const own = finalizerOf[policy]
  if (!own) {
    throw invalid({ group: 'meta.k8s.io', resource: '', kind: 'DeleteOptions' }, '', [
      unsupported('propagationPolicy', policy, [...Object.keys(finalizerOf), 'nil']),
    ])
  }
  const before = metadata.finalizers ?? []
  const after = [...before.filter((one) => !Object.values(finalizerOf).flat().includes(one)), ...own]
  if (after.length > 0) metadata.finalizers = after
  else delete metadata.finalizers
  return !sameJson(before, after)
}
