// Objects as the rows of tables that kubectl prints. Pure.
import { isFields, listAt } from '../object.ts'
import type { ApiObject, Fields } from '../object.ts'
import { ageOf, humanDuration } from './age.ts'
import { ageCell, columns, none, partOf, word } from './columns.ts'
import type { Layout } from './columns.ts'
import { podCells } from './pod-row.ts'
import { volumeLayouts } from './volume-tables.ts'

const number = (value: unknown): number => (typeof value === 'number' ? value : 0)
const kernelOf = ({ kernelVersion, architecture }: Fields): string =>
  [word(kernelVersion) || '<unknown>', ...(architecture ? [`(${word(architecture)})`] : [])].join(' ')
const size = (value: unknown): number => (isFields(value) ? Object.keys(value).length : 0)
const selectorText = (selector: unknown): string => {
  const labels = isFields(selector) && isFields(selector.matchLabels) ? selector.matchLabels : selector
  const pairs = isFields(labels) ? Object.entries(labels).map(([key, value]) => `${key}=${word(value)}`) : []
  return pairs.length > 0 ? pairs.join(',') : none
}
const containersOf = (spec: Fields, key: string): string =>
  listAt(partOf(partOf(spec, 'template'), 'spec'), 'containers')
    .map((container) => word(container[key]))
    .join(',')

const layouts: Readonly<Record<string, Layout>> = {
  ...volumeLayouts,
  pods: {
    columns: columns('Name,Ready,Status,Restarts,Age', 'IP,Node,Nominated Node,Readiness Gates'),
    cells: (pod, now) => {
      const { ready, status, restarts } = podCells(pod, now)
      const spec = partOf(pod, 'spec')
      const own = partOf(pod, 'status')
      const gates = listAt(spec, 'readinessGates')
      const met = listAt(own, 'conditions').filter(
        ({ type, status: value }) => value === 'True' && gates.some(({ conditionType }) => conditionType === type),
      )
      return [
        pod.metadata.name,
        ready,
        status,
        restarts,
        ageCell(pod, now),
        word(own.podIP) || none,
        word(spec.nodeName) || none,
        word(own.nominatedNodeName) || none,
        gates.length > 0 ? `${met.length}/${gates.length}` : none,
      ]
    },
  },
  nodes: {
    columns: columns(
      'Name,Status,Roles,Age,Version',
      'Internal-IP,External-IP,OS-Image,Kernel-Version,Container-Runtime',
    ),
    cells: (node, now) => {
      const own = partOf(node, 'status')
      const info = partOf(own, 'nodeInfo')
      const ready = listAt(own, 'conditions').find(({ type }) => type === 'Ready')
      const state = [
        ready ? (ready.status === 'True' ? 'Ready' : 'NotReady') : 'Unknown',
        ...(partOf(node, 'spec').unschedulable === true ? ['SchedulingDisabled'] : []),
      ]
      const roles = Object.keys(node.metadata.labels ?? {}).flatMap(
        (key) => /^node-role\.kubernetes\.io\/(.+)$/.exec(key)?.[1] ?? [],
      )
      const address = (type: string): string =>
        word(listAt(own, 'addresses').find((one) => one.type === type)?.address) || none
      return [
        node.metadata.name,
        state.join(','),
        roles.toSorted().join(',') || none,
        ageCell(node, now),
        word(info.kubeletVersion),
        address('InternalIP'),
        address('ExternalIP'),
        word(info.osImage) || '<unknown>',
        kernelOf(info),
        word(info.containerRuntimeVersion) || '<unknown>',
      ]
    },
  },
  services: {
    columns: columns('Name,Type,Cluster-IP,External-IP,Port(s),Age', 'Selector'),
    cells: (service, now) => {
      const spec = partOf(service, 'spec')
      const ingress = listAt(partOf(partOf(service, 'status'), 'loadBalancer'), 'ingress').map(
        ({ ip, hostname }) => word(ip) || word(hostname),
      )
      const given = Array.isArray(spec.externalIPs) ? (spec.externalIPs as string[]) : []
      const external =
        spec.type === 'ExternalName'
          ? word(spec.externalName)
          : [...ingress, ...given].join(',') || (spec.type === 'LoadBalancer' ? '<pending>' : none)
      const ports = listAt(spec, 'ports').map(
        ({ port, nodePort, protocol }) => `${number(port)}${nodePort ? `:${number(nodePort)}` : ''}/${word(protocol)}`,
      )
      return [
        service.metadata.name,
        word(spec.type),
        word(spec.clusterIP) || none,
        external,
        ports.join(',') || none,
        ageCell(service, now),
        selectorText(spec.selector),
      ]
    },
  },
  deployments: {
    columns: columns('Name,Ready,Up-to-date,Available,Age', 'Containers,Images,Selector'),
    cells: (deployment, now) => {
      const spec = partOf(deployment, 'spec')
      const own = partOf(deployment, 'status')
      return [
        deployment.metadata.name,
        `${number(own.readyReplicas)}/${number(spec.replicas)}`,
        number(own.updatedReplicas),
        number(own.availableReplicas),
        ageCell(deployment, now),
        containersOf(spec, 'name'),
        containersOf(spec, 'image'),
        selectorText(spec.selector),
      ]
    },
  },
  replicasets: {
    columns: columns('Name,Desired,Current,Ready,Age', 'Containers,Images,Selector'),
    cells: (set, now) => {
      const spec = partOf(set, 'spec')
      const own = partOf(set, 'status')
      return [
        set.metadata.name,
        number(spec.replicas),
        number(own.replicas),
        number(own.readyReplicas),
        ageCell(set, now),
        containersOf(spec, 'name'),
        containersOf(spec, 'image'),
        selectorText(spec.selector),
      ]
    },
  },
  configmaps: {
    columns: columns('Name,Data,Age'),
    cells: (map, now) => [map.metadata.name, size(map.data) + size(map.binaryData), ageCell(map, now)],
  },
  secrets: {
    columns: columns('Name,Type,Data,Age'),
    cells: (secret, now) => [secret.metadata.name, word(secret.type), size(secret.data), ageCell(secret, now)],
  },
  namespaces: {
    columns: columns('Name,Status,Age'),
    cells: (namespace, now) => [
      namespace.metadata.name,
      word(partOf(namespace, 'status').phase),
      ageCell(namespace, now),
    ],
  },
  serviceaccounts: {
    columns: columns('Name,Secrets,Age'),
    cells: (account, now) => [account.metadata.name, listAt(account, 'secrets').length, ageCell(account, now)],
  },
  leases: {
    columns: columns('Name,Holder,Age'),
    cells: (lease, now) => [lease.metadata.name, word(partOf(lease, 'spec').holderIdentity), ageCell(lease, now)],
  },
  endpointslices: {
    columns: columns('Name,AddressType,Ports,Endpoints,Age'),
    cells: (slice, now) => {
      const ports = listAt(slice, 'ports').map(({ port }) => (port === undefined ? '*' : String(number(port))))
      const addresses = listAt(slice, 'endpoints').flatMap((one) =>
        Array.isArray(one.addresses) ? (one.addresses as string[]) : [],
      )
      const shown = 3
      const more = addresses.length > shown ? ` + ${addresses.length - shown} more...` : ''
      return [
        slice.metadata.name,
        word(slice.addressType),
        ports.length > 0 ? ports.join(',') : '<unset>',
        addresses.length > 0 ? `${addresses.slice(0, shown).join(',')}${more}` : '<unset>',
        ageCell(slice, now),
      ]
    },
  },
  certificatesigningrequests: {
    columns: columns('Name,Age,SignerName,Requestor,RequestedDuration,Condition'),
    cells: (request, now) => {
      const spec = partOf(request, 'spec')
      const own = partOf(request, 'status')
      const types = listAt(own, 'conditions').map(({ type }) => word(type))
      const judged = ['Denied', 'Approved'].find((type) => types.includes(type)) ?? 'Pending'
      const failed = types.includes('Failed') ? ['Failed'] : []
      const issued = own.certificate ? ['Issued'] : []
      return [
        request.metadata.name,
        ageCell(request, now),
        word(spec.signerName) || none,
        word(spec.username),
        typeof spec.expirationSeconds === 'number' ? humanDuration(spec.expirationSeconds) : none,
        [judged, ...failed, ...issued].join(','),
      ]
    },
  },
  events: {
    columns: [
      ...columns('Last Seen,Type,Reason,Object', 'Subobject,Source'),
      ...columns('Message', 'First Seen,Count,Name'),
    ],
    cells: (event, now) => {
      const about = partOf(event, 'involvedObject')
      const source = partOf(event, 'source')
      const first = word(event.firstTimestamp) || word(event.eventTime)
      const last = word(event.lastTimestamp) || first
      const from = word(source.component) || word(event.reportingComponent)
      const host = word(source.host) || word(event.reportingInstance)
      const when = (time: string): string => ageOf(time === '' ? undefined : time, now)
      return [
        when(last),
        word(event.type),
        word(event.reason),
        `${word(about.kind).toLowerCase()}/${word(about.name)}`,
        word(about.fieldPath),
        host ? `${from}, ${host}` : from,
        word(event.message).trim(),
        when(first),
        number(event.count) || 1,
        event.metadata.name,
      ]
    },
  },
}

const plain: Layout = {
  columns: columns('Name,Age'),
  cells: (object, now) => [object.metadata.name, ageCell(object, now)],
}

/** What each row carries of its object. */
export type Include = 'None' | 'Metadata' | 'Object'

/** `meta.k8s.io/v1 Table` of objects. */
export function tableOf(
  resource: string,
  objects: readonly ApiObject[],
  { now, include, metadata = {} }: { now: number; include: Include; metadata?: object },
): object {
  const layout = layouts[resource] ?? plain
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata,
    columnDefinitions: layout.columns.map(({ name, priority }) => ({
      name,
      type: 'string',
      format: name === 'Name' ? 'name' : '',
      description: '',
      priority,
    })),
    rows: objects.map((object) => ({ cells: layout.cells(object, now), object: included(object, include) })),
  }
}

function included(object: ApiObject, include: Include): object | undefined {
  if (include === 'Object') return object
  if (include === 'None') return undefined
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata }
}
