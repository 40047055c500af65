// What is kept in memory of Services and EndpointSlices: a large cluster has ten thousands of them, and most of an object is of no use to a
// proxy. What is malformed stays as it is, to be told of where it is read. Pure.
import type { Service } from 'kubernetes-types/core/v1.d.ts'
import type { Endpoint, EndpointConditions, EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import type { ObjectMeta } from 'kubernetes-types/meta/v1.d.ts'
import { isObject } from './graph/problem.ts'

/** Those that a proxy reads. */
const labels = [
  'kubernetes.io/service-name',
  'service.kubernetes.io/headless',
  'service.kubernetes.io/service-proxy-name',
] as const
const annotations = ['endpoints.kubernetes.io/last-change-trigger-time'] as const
const metadataFields = ['name', 'namespace', 'uid', 'resourceVersion'] as const
const endpointFields = ['addresses', 'nodeName', 'hints'] as const

/** The fields of an object that it has; what is no object stays what it is. */
function picked(object: unknown, fields: readonly string[]): unknown {
  if (!isObject(object)) return object
  const kept: Record<string, unknown> = {}
  for (const field of fields) {
    const value = (object as Record<string, unknown>)[field]
    if (value !== undefined && Object.hasOwn(object, field)) kept[field] = value
  }
  return kept
}

/** Without what is empty then. */
function pickedIfAny(object: unknown, fields: readonly string[]): unknown {
  const kept = picked(object, fields)
  return isObject(kept) && Object.keys(kept).length === 0 ? undefined : kept
}

function keptMetadata(metadata: ObjectMeta | undefined): ObjectMeta | undefined {
  if (!isObject(metadata)) return metadata
  const kept = picked(metadata, metadataFields) as Record<string, unknown>
  const own = {
    labels: pickedIfAny(metadata.labels, labels),
    annotations: pickedIfAny(metadata.annotations, annotations),
  }
  for (const [field, value] of Object.entries(own)) if (value !== undefined) kept[field] = value
  return kept
}

/** One object for all endpoints of the same conditions. */
const conditions = new Map<string, EndpointConditions>()

function keptConditions(own: EndpointConditions): EndpointConditions {
  const { ready, serving, terminating } = own
  const values = [ready, serving, terminating]
  if (!values.every((value) => value === undefined || typeof value === 'boolean')) return own
  const key = values.join()
  const known = conditions.get(key) ?? (picked(own, ['ready', 'serving', 'terminating']) as EndpointConditions)
  conditions.set(key, known)
  return known
}

function keptEndpoint(endpoint: Endpoint): Endpoint {
  if (!isObject(endpoint)) return endpoint
  const kept = picked(endpoint, endpointFields) as Endpoint
  const own: unknown = endpoint.conditions
  if (own !== undefined) kept.conditions = isObject(own) ? keptConditions(own) : (own as EndpointConditions)
  return kept
}

export function keptSlice(slice: EndpointSlice): EndpointSlice {
  const { metadata, addressType, endpoints, ports } = slice
  const own = keptMetadata(metadata)
  return {
    ...(own !== undefined && { metadata: own }),
    addressType,
    endpoints: Array.isArray(endpoints) ? endpoints.map(keptEndpoint) : endpoints,
    ...(ports !== undefined && { ports }),
  }
}

export function keptService({ metadata, spec, status }: Service): Service {
  const own = keptMetadata(metadata)
  return {
    ...(own !== undefined && { metadata: own }),
    ...(spec !== undefined && { spec }),
    ...(status !== undefined && { status }),
  }
}
