// Label and field selectors of lists and watches.
import { matchesFields, matchesLabels, parseFieldSelector, parseLabelSelector } from '@nodelet/kube-client'
import type { ApiObject } from '../object.ts'
import type { OneObject } from '../store.ts'
import { badRequest } from './errors.ts'
import type { ResourcePath } from './request.ts'

/** Fields that a kind can be selected by, besides name and namespace. */
const selectable: Readonly<Record<string, readonly string[]>> = {
  pods: [
    'spec.nodeName',
    'spec.restartPolicy',
    'spec.schedulerName',
    'spec.serviceAccountName',
    'spec.hostNetwork',
    'status.phase',
    'status.podIP',
    'status.nominatedNodeName',
  ],
  nodes: ['spec.unschedulable'],
  namespaces: ['status.phase'],
  podcertificaterequests: ['spec.nodeName', 'spec.podName', 'spec.signerName'],
  secrets: ['type'],
  services: ['spec.clusterIP', 'spec.type'],
  replicasets: ['status.replicas'],
  events: [
    'involvedObject.kind',
    'involvedObject.namespace',
    'involvedObject.name',
    'involvedObject.uid',
    'involvedObject.apiVersion',
    'involvedObject.resourceVersion',
    'involvedObject.fieldPath',
    'reason',
    'reportingComponent',
    'source',
    'type',
  ],
}

/**
 * The one object that can be selected, if so: nodes follow each of their ConfigMaps and Secrets by itself.
 * @throws ApiError 400 as upstream words it
 */
export function onlyOne({ kind, namespace }: ResourcePath, query: URLSearchParams): OneObject | undefined {
  const fields = query.get('fieldSelector')
  if (!fields?.includes('metadata.name=') || (kind.namespaced && namespace === undefined)) return undefined
  const name = guarded(() => parseFieldSelector(fields)).find(
    ({ field, operator }) => field === 'metadata.name' && operator === '=',
  )?.value
  return name === undefined ? undefined : { namespace: namespace ?? '', name }
}

/** @throws ApiError 400 as upstream words it */
export function selection(resource: string, query: URLSearchParams): (object: ApiObject) => boolean {
  const labels = query.get('labelSelector')
  const fields = query.get('fieldSelector')
  const wantedLabels = labels ? guarded(() => parseLabelSelector(labels)) : []
  const wantedFields = fields ? guarded(() => parseFieldSelector(fields)) : []
  const known = ['metadata.name', 'metadata.namespace', ...(selectable[resource] ?? [])]
  for (const { field } of wantedFields) {
    if (!known.includes(field)) throw badRequest(`field label not supported: ${field}`)
  }
  return (object) =>
    (wantedLabels.length === 0 || matchesLabels(wantedLabels, object.metadata.labels ?? {})) &&
    (wantedFields.length === 0 || matchesFields(wantedFields, object))
}

function guarded<T>(parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    throw badRequest((error as Error).message)
  }
}
