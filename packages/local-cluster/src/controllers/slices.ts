// The EndpointSlices that a Service should have. Pure.
import type { Node, Pod, Service } from 'kubernetes-types/core/v1.d.ts'
import type { Endpoint, EndpointPort, EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import { sameJson, sortKeys } from '../object.ts'
import { isOver, isReadyPod } from './replicas.ts'

export const serviceLabel = 'kubernetes.io/service-name'
export const managedByLabel = 'endpointslice.kubernetes.io/managed-by'
export const manager = 'endpointslice-controller.k8s.io'
const headlessLabel = 'service.kubernetes.io/headless'
const mostEndpoints = 100

/** Content of one slice. */
export interface WantedSlice {
  addressType: 'IPv4' | 'IPv6'
  endpoints: Endpoint[]
  ports: EndpointPort[]
}

/** The labels of a Service's slices: its own, and those that tell whose they are. Proxies skip headless ones. */
export function sliceLabels({ metadata, spec }: Service): Record<string, string> {
  const { [headlessLabel]: _, ...labels } = metadata?.labels ?? {}
  return {
    ...labels,
    [serviceLabel]: metadata?.name ?? '',
    [managedByLabel]: manager,
    ...(spec?.clusterIP === 'None' && { [headlessLabel]: '' }),
  }
}

/** A Service's ports on this pod; a name that the pod does not have is left out. */
function portsOf(service: Service, pod: Pod): EndpointPort[] {
  const sidecars = (pod.spec?.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always')
  const named = [...(pod.spec?.containers ?? []), ...sidecars].flatMap(({ ports = [] }) => ports)
  return (service.spec?.ports ?? []).flatMap(
    ({ name = '', protocol = 'TCP', port, targetPort = port, appProtocol }) => {
      const number =
        typeof targetPort === 'number'
          ? targetPort
          : named.find((one) => one.name === targetPort && (one.protocol ?? 'TCP') === protocol)?.containerPort
      return number === undefined ? [] : [{ name, protocol, port: number, ...(appProtocol && { appProtocol }) }]
    },
  )
}

function endpointOf(service: Service, pod: Pod, address: string, node: Node | undefined): Endpoint {
  const { name, namespace, uid, deletionTimestamp } = pod.metadata ?? {}
  const serving = isReadyPod(pod)
  const terminating = deletionTimestamp !== undefined
  const ready = service.spec?.publishNotReadyAddresses === true || (serving && !terminating)
  const zone = node?.metadata?.labels?.['topology.kubernetes.io/zone']
  const { hostname, subdomain, nodeName } = pod.spec ?? {}
  return {
    addresses: [address],
    conditions: { ready, serving, terminating },
    ...(hostname && subdomain === service.metadata?.name && { hostname }),
    targetRef: { kind: 'Pod', namespace: namespace ?? '', name: name ?? '', uid: uid ?? '' },
    ...(nodeName && { nodeName }),
    ...(zone && { zone }),
  }
}

/** Pods are grouped by family and by the numbers that their ports have, in order of name. */
export function wantedSlices(
  service: Service,
  pods: readonly Pod[],
  nodeOf: (name: string) => Node | undefined,
): WantedSlice[] {
  const families = service.spec?.ipFamilies ?? ['IPv4']
  const groups = new Map<string, WantedSlice>()
  const ordered = pods.toSorted((a, b) => ((a.metadata?.name ?? '') < (b.metadata?.name ?? '') ? -1 : 1))
  for (const addressType of families as WantedSlice['addressType'][]) {
    for (const pod of ordered) {
      if (isOver(pod) || !pod.spec?.nodeName) continue
      const ips = pod.status?.podIPs?.map(({ ip }) => ip ?? '') ?? (pod.status?.podIP ? [pod.status.podIP] : [])
      const address = ips.find((ip) => ip.includes(':') === (addressType === 'IPv6') && ip !== '')
      if (address === undefined) continue
      const ports = portsOf(service, pod)
      const key = JSON.stringify([addressType, ports])
      const group = groups.get(key) ?? { addressType, endpoints: [], ports }
      groups.set(key, group)
      group.endpoints.push(endpointOf(service, pod, address, nodeOf(pod.spec.nodeName)))
    }
    const hasSome = [...groups.values()].some((group) => group.addressType === addressType)
    if (!hasSome) groups.set(addressType, { addressType, endpoints: [], ports: [] })
  }
  return [...groups.values()].flatMap(split)
}

function split(slice: WantedSlice): WantedSlice[] {
  const count = Math.max(1, Math.ceil(slice.endpoints.length / mostEndpoints))
  return Array.from({ length: count }, (_, index) => ({
    ...slice,
    endpoints: slice.endpoints.slice(index * mostEndpoints, (index + 1) * mostEndpoints),
  }))
}

const portsKey = (slice: Pick<EndpointSlice, 'addressType' | 'ports'>): string =>
  JSON.stringify(sortKeys([slice.addressType, slice.ports ?? []]))

/** What to create, to update and to delete, so that few slices are written. @param labels that each is to have */
export function slicePlan(
  wanted: readonly WantedSlice[],
  present: readonly EndpointSlice[],
  labels: Record<string, string>,
): { create: WantedSlice[]; update: { slice: EndpointSlice; wanted: WantedSlice }[]; remove: EndpointSlice[] } {
  const left = [...present]
  const plan = { create: [] as WantedSlice[], update: [] as { slice: EndpointSlice; wanted: WantedSlice }[] }
  for (const one of wanted) {
    const same = left.findIndex((slice) => portsKey(slice) === portsKey(one))
    const usable = same >= 0 ? same : left.findIndex((slice) => slice.addressType === one.addressType)
    const [slice] = usable >= 0 ? left.splice(usable, 1) : []
    if (!slice) plan.create.push(one)
    else if (
      !sameJson([slice.endpoints, slice.ports ?? [], slice.metadata?.labels], [one.endpoints, one.ports, labels])
    ) {
      plan.update.push({ slice, wanted: one })
    }
  }
  return { ...plan, remove: left }
}
