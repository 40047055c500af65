// Rules for references to a pod's own data, in environments and volumes. Pure.
import type { ObjectFieldSelector, ResourceFieldSelector } from 'kubernetes-types/core/v1.d.ts'
import { parseMilliQuantity } from '../quantity.ts'
import { type FieldErrors, invalid, required, unsupported } from './field-error.ts'
import { checked, qualifiedName } from './names.ts'

const podFields = [
  'metadata.annotations',
  'metadata.labels',
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
  'spec.nodeName',
  'spec.restartPolicy',
  'spec.schedulerName',
  'spec.serviceAccountName',
  'status.hostIP',
  'status.hostIPs',
  'status.phase',
  'status.podIP',
  'status.podIPs',
]

/** @param supported the fields that can be had there, sorted, beside single labels and annotations */
export function* fieldRefErrors(
  { apiVersion, fieldPath }: ObjectFieldSelector,
  path: string,
  supported: readonly string[],
): FieldErrors {
  if (!apiVersion) return yield required(`${path}.apiVersion`)
  if (!fieldPath) return yield required(`${path}.fieldPath`)
  const field = `${path}.fieldPath`
  const [, map = '', key = ''] = /^(.+?)\['(.*)'\]$/s.exec(fieldPath) ?? []
  const why = conversionFault(apiVersion, fieldPath, map)
  if (why) return yield invalid(field, fieldPath, `error converting fieldPath: ${why}`)
  // Keys of annotations may be upper case.
  if (map) yield* checked(field, map === 'metadata.annotations' ? key.toLowerCase() : key, qualifiedName)
  else if (!supported.includes(fieldPath)) yield unsupported(field, fieldPath, supported)
}

function conversionFault(apiVersion: string, fieldPath: string, map: string): string | undefined {
  if (apiVersion !== 'v1') return `unsupported pod version: ${apiVersion}`
  if (['metadata.annotations', 'metadata.labels'].includes(map)) return undefined
  if (map) return `field label does not support subscript: ${fieldPath}`
  return podFields.includes(fieldPath) ? undefined : `field label not supported: ${fieldPath}`
}

const resources = ['cpu', 'ephemeral-storage', 'memory']
const supportedResources = ['limits', 'requests'].flatMap((kind) => resources.map((name) => `${kind}.${name}`))
const ofBytes = ['1', '1k', '1M', '1G', '1T', '1P', '1E', '1Ki', '1Mi', '1Gi', '1Ti', '1Pi', '1Ei']

export function* resourceFieldRefErrors({ resource, divisor }: ResourceFieldSelector, path: string): FieldErrors {
  if (!resource) return yield required(`${path}.resource`)
  const [, plain, pages] = /^(?:limits|requests)\.(?:(cpu|memory|ephemeral-storage)$|(hugepages)-)/.exec(resource) ?? []
  const name = plain ?? pages
  if (!name) return yield unsupported(`${path}.resource`, resource, supportedResources)
  const allowed = name === 'cpu' ? ['1m', '1'] : ofBytes
  const value = parseMilliQuantity(divisor ?? '0')
  if (value === 0n || allowed.some((one) => parseMilliQuantity(one) === value)) return
  const list = name === 'cpu' ? '1m and 1' : ofBytes.join(', ')
  const what = name === 'ephemeral-storage' ? 'local ephemeral storage' : name
  yield invalid(`${path}.divisor`, divisor, `only divisor's values ${list} are supported with the ${what} resource`)
}
