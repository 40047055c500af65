// Rules for volumes with the pod's own data. Pure.
import type {
  DownwardAPIVolumeFile,
  DownwardAPIVolumeSource,
  ProjectedVolumeSource,
} from 'kubernetes-types/core/v1.d.ts'
import { type FieldErrors, forbidden, invalid, required } from '../field-error.ts'
import { fieldRefErrors, resourceFieldRefErrors } from '../field-refs.ts'
import { fileMode, volumeFilePath } from '../values.ts'
import type { NewerProjection } from '../../certificate/pod-request.ts'
import { podCertificateErrors } from './pod-certificate.ts'

export function* downwardErrors({ defaultMode, items = [] }: DownwardAPIVolumeSource, path: string): FieldErrors {
  yield* fileMode(`${path}.defaultMode`, defaultMode)
  for (const [index, file] of items.entries()) yield* fileErrors(file, `${path}.items[${index}]`)
}

const fieldPaths = ['metadata.annotations', 'metadata.labels', 'metadata.name', 'metadata.namespace', 'metadata.uid']

function* fileErrors({ path: name, fieldRef, resourceFieldRef, mode }: DownwardAPIVolumeFile, at: string): FieldErrors {
  if (name) yield* volumeFilePath(`${at}.path`, name)
  else yield required(`${at}.path`)
  if (fieldRef) yield* fieldRefErrors(fieldRef, `${at}.fieldRef`, fieldPaths)
  if (resourceFieldRef) {
    const ref = `${at}.resourceFieldRef`
    if (!resourceFieldRef.containerName) yield required(`${ref}.containerName`)
    yield* resourceFieldRefErrors(resourceFieldRef, ref)
  }
  if (!fieldRef && !resourceFieldRef) yield required(at, 'one of fieldRef and resourceFieldRef is required')
  if (fieldRef && resourceFieldRef) {
    yield invalid(at, 'resource', 'fieldRef and resourceFieldRef can not be specified simultaneously')
  }
  yield* fileMode(`${at}.mode`, mode)
}

export function* projectedErrors({ defaultMode, sources = [] }: ProjectedVolumeSource, path: string): FieldErrors {
  yield* fileMode(`${path}.defaultMode`, defaultMode)
  const taken = new Set<string>()
  for (const [index, source] of sources.entries()) {
    const at = `${path}.sources[${index}]`
    for (const [number, file] of (source.downwardAPI?.items ?? []).entries()) {
      const field = `${at}.downwardAPI.items[${number}]`
      yield* fileErrors(file, field)
      if (file.path && taken.has(file.path)) yield invalid(`${field}.path`, file.path, 'conflicting duplicate paths')
      taken.add(file.path)
    }
    const { podCertificate }: NewerProjection = source
    if (podCertificate) yield* podCertificateErrors(podCertificate, `${at}.podCertificate`)
    if (Object.keys(source).length > 1) yield forbidden(at, 'may not specify more than 1 volume type per source')
  }
}
