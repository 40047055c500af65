// The endpoints that EndpointSlices give to service ports.
import type { Endpoint as ApiEndpoint, EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import { isSpecial, parseAddress, type IPFamily } from '../net/address.ts'
import {
  hasLabel,
  isLabel,
  isObject,
  isPort,
  itemsOf,
  objectName,
  shown,
  type Problem,
  type Report,
} from './problem.ts'
import { isProtocol } from './service-port.ts'

/** One address and port behind a service port. */
export interface Endpoint {
  /** `ip:port`, or `[ip]:port` for IPv6: its identity. */
  text: string
  address: string
  port: number
  ready: boolean
  serving: boolean
  terminating: boolean
  /** On our node. */
  local: boolean
  zoneHints: readonly string[]
  nodeHints: readonly string[]
}

/** Endpoints by the key of their service port, see {@link portKey}. */
export type EndpointTable = Map<string, Map<string, Endpoint>>

/** The key under which a slice's port and a service port meet. */
export const portKey = (namespace: string, service: string, portName: string, protocol: string): string =>
  [namespace, service, portName, protocol].join('/')

type Hints = NonNullable<ApiEndpoint['hints']> & { forNodes?: readonly { name: string }[] }

/** An EndpointSlice: hints for nodes are younger than the published types. */
export type GraphSlice = Omit<EndpointSlice, 'endpoints'> & {
  endpoints: (Omit<ApiEndpoint, 'hints'> & { hints?: Hints })[]
}

const addressTypes: readonly string[] = ['IPv4', 'IPv6', 'FQDN']

type Kind = 'list' | 'object' | 'boolean' | 'string'

const isKind = (value: unknown, kind: Kind): boolean =>
  kind === 'list' ? Array.isArray(value) : kind === 'object' ? isObject(value) : typeof value === kind

/** What an endpoint has that is of the wrong kind; null is the same as nothing. */
function misfit({ addresses, nodeName, conditions, hints }: ApiEndpoint): string | undefined {
  const { forZones, forNodes }: Hints = hints ?? none
  return (
    unlessKind('addresses', addresses, 'list') ??
    unlessKind('nodeName', nodeName, 'string') ??
    unlessKind('conditions', conditions, 'object') ??
    unlessKind('conditions.ready', conditions?.ready, 'boolean') ??
    unlessKind('conditions.serving', conditions?.serving, 'boolean') ??
    unlessKind('conditions.terminating', conditions?.terminating, 'boolean') ??
    unlessKind('hints', hints, 'object') ??
    unlessKind('hints.forZones', forZones, 'list') ??
    unlessKind('hints.forNodes', forNodes, 'list') ??
    unlessNamed(forZones) ??
    unlessNamed(forNodes)
  )
}

const unlessKind = (name: string, value: unknown, kind: Kind): string | undefined =>
  value === undefined || value === null || isKind(value, kind) ? undefined : `${name} ${shown(value)} is no ${kind}`

function unlessNamed(hints: readonly { name: string }[] | null | undefined): string | undefined {
  const at = (hints ?? noHints).findIndex((hint) => typeof hint?.name !== 'string')
  return at < 0 ? undefined : `hints ${shown(hints?.[at])} has no name`
}

// Shared: most endpoints have none.
const none: NonNullable<Hints> = {}
const noHints: readonly never[] = []

const hintNames = (hints: readonly { name: string }[] | null | undefined): readonly string[] =>
  hints && hints.length > 0 ? hints.map(({ name }) => name) : noHints

/** A string says why the endpoint is left out; one without addresses just is no endpoint. */
function endpointOf(
  endpoint: ApiEndpoint | null,
  family: IPFamily,
  nodeName: string,
): Omit<Endpoint, 'text' | 'port'> | string | undefined {
  if (!isObject(endpoint)) return `${shown(endpoint)} is no endpoint; it is left out`
  const wrong = misfit(endpoint)
  if (wrong !== undefined) return `${wrong}; the endpoint is left out`
  const [text] = endpoint.addresses ?? []
  if (text === undefined) return undefined
  const address = parseAddress(text)
  if (address?.family !== family) return `${shown(text)} is no ${family} address; the endpoint is left out`
  if (isSpecial(address)) return `${address.text} is loopback, link-local or unspecified; the endpoint is left out`
  const { conditions } = endpoint
  const hints: Hints | undefined = endpoint.hints ?? undefined
  return {
    address: address.text,
    ready: conditions?.ready ?? true,
    serving: conditions?.serving ?? true,
    terminating: conditions?.terminating === true,
    local: endpoint.nodeName === nodeName,
    zoneHints: hintNames(hints?.forZones),
    nodeHints: hintNames(hints?.forNodes),
  }
}

const add = (table: EndpointTable, key: string, endpoint: Endpoint): void => {
  const known = table.get(key) ?? new Map<string, Endpoint>()
  table.set(key, known)
  if (!endpoint.terminating || !known.has(endpoint.text)) known.set(endpoint.text, endpoint)
}

/**
 * Adds what `slice` has for `family` to `table`. Slices of other address types and those of headless Services are
 * passed over; malformed parts are left out and told in `problems`.
 */
export function addSlice(
  table: EndpointTable,
  slice: EndpointSlice,
  family: IPFamily,
  nodeName: string,
  problems: Problem[],
): void {
  const { metadata, addressType } = slice
  if (hasLabel(metadata, 'service.kubernetes.io/headless')) return
  const object = objectName('EndpointSlice', metadata)
  const report: Report = (field, message) => problems.push({ object, field, message })
  if (!addressTypes.includes(addressType)) {
    report('addressType', `${shown(addressType)} is none of ${addressTypes.join(', ')}; the slice is left out`)
    return
  }
  if (addressType !== family) return
  const service = metadata?.labels?.['kubernetes.io/service-name']
  const namespace = metadata?.namespace
  if (!isLabel(service) || !isLabel(namespace)) {
    const message = `belongs to no Service (${shown(service)} in namespace ${shown(namespace)}); it is left out`
    report('metadata.labels["kubernetes.io/service-name"]', message)
    return
  }
  const endpoints: Omit<Endpoint, 'text' | 'port'>[] = []
  for (const [index, item] of itemsOf(slice.endpoints, 'endpoints', report).entries()) {
    const endpoint = endpointOf(item, family, nodeName)
    if (typeof endpoint === 'string') report(`endpoints[${index}]`, endpoint)
    else if (endpoint) endpoints.push(endpoint)
  }
  for (const [index, item] of itemsOf(slice.ports, 'ports', report).entries()) {
    const port = item?.port
    const protocol = item?.protocol ?? 'TCP'
    if (typeof item?.name !== 'string' || !isPort(port) || !isProtocol(protocol)) {
      const message = `name ${shown(item?.name)}, port ${shown(port)}, ${shown(protocol)}: it is left out`
      report(`ports[${index}]`, message)
      continue
    }
    const key = portKey(namespace, service, item.name, protocol)
    const host = (address: string): string => (family === 'IPv6' ? `[${address}]` : address)
    for (const endpoint of endpoints) add(table, key, { ...endpoint, port, text: `${host(endpoint.address)}:${port}` })
  }
}
