// Rules for the metadata of a pod. Pure.
import type { ObjectMeta, OwnerReference } from 'kubernetes-types/meta/v1.d.ts'
import { type FieldErrors, invalid, required, tooLong } from './field-error.ts'
import { bytesOf, checked, dnsLabel, dnsSubdomain, labelValue, qualifiedName } from './names.ts'
import { notNegative } from './values.ts'

const annotationBytes = 256 * 1024

export function* metadataErrors(metadata: ObjectMeta): FieldErrors {
  const { name, generateName, namespace, generation, labels, annotations = {} } = metadata
  // What is put behind may follow a dash.
  if (generateName)
    yield* checked('metadata.generateName', generateName, (text) => dnsSubdomain(text.replace(/-$/, 'a')))
  if (name) yield* checked('metadata.name', name, dnsSubdomain)
  else yield required('metadata.name', 'name or generateName is required')
  if (namespace) yield* checked('metadata.namespace', namespace, dnsLabel)
  else yield required('metadata.namespace')
  yield* notNegative('metadata.generation', generation)
  yield* labelsErrors(labels, 'metadata.labels')
  for (const key of Object.keys(annotations)) {
    for (const detail of qualifiedName(key.toLowerCase())) yield invalid('metadata.annotations', key, detail)
  }
  const size = Object.entries(annotations).reduce((sum, [key, value]) => sum + bytesOf(key) + bytesOf(value), 0)
  if (size > annotationBytes) yield tooLong('metadata.annotations', annotationBytes)
  yield* ownerErrors(metadata.ownerReferences ?? [])
  for (const finalizer of metadata.finalizers ?? []) {
    yield* checked('metadata.finalizers', finalizer, qualifiedName)
    if (!finalizer.includes('/') && !['kubernetes', 'orphan', 'foregroundDeletion'].includes(finalizer)) {
      const detail = 'name is neither a standard finalizer name nor is it fully qualified'
      yield invalid('metadata.finalizers', finalizer, detail)
    }
  }
}

/** Keys and values alike are told at the field that has them. */
export function* labelsErrors(labels: Readonly<Record<string, string>> = {}, path: string): FieldErrors {
  for (const [key, value] of Object.entries(labels)) {
    yield* checked(path, key, qualifiedName)
    yield* checked(path, value, labelValue)
  }
}

function* ownerErrors(owners: readonly OwnerReference[]): FieldErrors {
  for (const [index, owner] of owners.entries()) {
    const path = `metadata.ownerReferences[${index}]`
    if (!owner.apiVersion) yield invalid(`${path}.apiVersion`, '', 'version must not be empty')
    for (const name of ['kind', 'name', 'uid'] as const) {
      if (!owner[name]) yield invalid(`${path}.${name}`, '', 'must not be empty')
    }
  }
  const [first, second] = owners.filter(({ controller }) => controller)
  if (first && second) {
    const names = [first, second].map(({ kind, name }) => `${kind}/${name}`).join(' and ')
    const detail = `Only one reference can have Controller set to true. Found "true" in references for ${names}`
    yield invalid('metadata.ownerReferences', owners, detail)
  }
}
