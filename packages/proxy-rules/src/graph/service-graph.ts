// Services and EndpointSlices, joined: every service port of one family with its endpoints.
import type { Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import type { IPFamily } from '../net/address.ts'
import { finish, type Steps } from '../slices.ts'
import { chooseEndpoints, type Choice, type Place } from './choice.ts'
import { addSlice, portKey, type Endpoint, type EndpointTable, type GraphSlice } from './endpoint.ts'
import { isLabel, isObject, shown, type Problem } from './problem.ts'
import { servicePorts, type ServicePort } from './service-port.ts'
import { findByKey, withChangesInTurn } from './sorted.ts'

/** A service port and what is behind it. */
export interface ServiceNode {
  /** Namespace, Service, port name and protocol: no other node of the graph has it. */
  key: string
  port: ServicePort
  /** All, in the order of their text, byte by byte. */
  endpoints: readonly Endpoint[]
  choice: Choice
}

/** What rules are compiled from. */
export interface ServiceGraph extends Place {
  family: IPFamily
  /** In the order of namespace, Service, port name and protocol. */
  nodes: readonly ServiceNode[]
  /** What was malformed and left out. */
  problems: readonly Problem[]
  /** What was made of the objects of each Service, in the order of the nodes. */
  sources: readonly ServiceSource[]
  /** Those of them that have problems. */
  troubled: readonly ServiceSource[]
  /** Of all nodes together, ready or not. */
  endpointCount: number
  /** This graph, without keeping it in memory. */
  version: object
  /** Of which graph it is a change, and the keys of the nodes that are new, gone or other ones. */
  change: { since: object; keys: ReadonlySet<string> }
}

/** The API objects of one Service; it may have slices before it is there. */
export interface ServiceObjects {
  service: Service | undefined
  slices: readonly EndpointSlice[]
}

/** What they gave. */
export interface ServiceSource extends ServiceObjects {
  /** See {@link serviceKey}. */
  key: string
  nodes: readonly ServiceNode[]
  problems: readonly Problem[]
}

/** What a graph is made of: all items of the API server's lists. */
export interface GraphInput extends Place {
  family: IPFamily
  services: readonly Service[]
  endpointSlices: readonly GraphSlice[]
}

const byText =
  <T>(text: (item: T) => string) =>
  (a: T, b: T): number =>
    text(a) < text(b) ? -1 : text(a) > text(b) ? 1 : 0

const keyOf = ({ namespace, service, portName, protocol }: ServicePort): string =>
  portKey(namespace, service, portName, protocol)

/** What is no name stands in brackets, so that no proper name is the same. */
const keyPart = (name: unknown): string => (isLabel(name) ? name : `(${shown(name)})`)

/** The key of a Service's objects. It ends as the keys of its nodes go on, so that it sorts as they do. */
export const serviceKey = ({ metadata }: Service): string =>
  `${keyPart(metadata?.namespace)}/${keyPart(metadata?.name)}/`

/** The key of the Service that a slice belongs to. */
export const sliceKey = ({ metadata }: EndpointSlice): string =>
  `${keyPart(metadata?.namespace)}/${keyPart(metadata?.labels?.['kubernetes.io/service-name'])}/`

/** A graph of nothing. */
export function emptyGraph(family: IPFamily, { nodeName, zone, withoutExternalIPs }: Place): ServiceGraph {
  const change = { since: {}, keys: new Set<string>() }
  const nothing = { nodes: [], problems: [], sources: [], troubled: [], endpointCount: 0 }
  return { family, nodeName, zone, withoutExternalIPs, ...nothing, version: {}, change }
}

const families: readonly unknown[] = ['IPv4', 'IPv6'] satisfies IPFamily[]

function objectsOf<T extends object>(field: string, list: readonly T[]): T[] {
  if (!Array.isArray(list)) throw new RangeError(`${field}: ${shown(list)} is no list; give the items of a List`)
  return list.filter((one: T) => isObject(one))
}

/**
 * Joins Services and EndpointSlices of one family. The order of the lists does not matter, and no object in them makes it throw.
 *
 * @param previous an earlier graph: its nodes are used again, as the same objects, where nothing changed, and Services whose API
 *   objects are the same ones are not looked at again
 * @throws RangeError for lists that are none, such as a List of the API, and for a family that is none
 */
export function serviceGraph(input: GraphInput, previous?: ServiceGraph): ServiceGraph {
  const { family } = input
  if (!families.includes(family)) throw new RangeError(`family: ${shown(family)} is neither IPv4 nor IPv6`)
  const isSame =
    previous?.family === family &&
    previous.nodeName === input.nodeName &&
    previous.zone === input.zone &&
    previous.withoutExternalIPs === input.withoutExternalIPs
  const base = isSame ? previous : emptyGraph(family, input)
  const slices = Map.groupBy(objectsOf('endpointSlices', input.endpointSlices), sliceKey)
  const services = new Map(objectsOf('services', input.services).map((service) => [serviceKey(service), service]))
  const known = new Map(base.sources.map((source) => [source.key, source]))
  const changes = new Map<string, ServiceObjects>()
  for (const key of new Set([...known.keys(), ...services.keys(), ...slices.keys()])) {
    const objects = { service: services.get(key), slices: slices.get(key) ?? [] }
    if (!isMadeOf(known.get(key), objects)) changes.set(key, objects)
  }
  return updateServiceGraph(base, input, changes)
}

/**
 * The graph after changes, in a time that hardly depends on what did not change.
 *
 * @param place that of `previous`, or else all Services have to be among the changes
 * @param changes what the Services with these keys have now
 */
export const updateServiceGraph = (
  previous: ServiceGraph,
  place: Place,
  changes: ReadonlyMap<string, ServiceObjects>,
): ServiceGraph => finish(updateGraphInTurn(previous, place, changes))

/** The same for many changes, to be done in slices. */
export function* updateGraphInTurn(
  previous: ServiceGraph,
  { nodeName, zone, withoutExternalIPs }: Place,
  changes: ReadonlyMap<string, ServiceObjects>,
): Steps<ServiceGraph> {
  const { family } = previous
  const place = { nodeName, zone, withoutExternalIPs }
  const changed = new Map<string, ServiceSource | undefined>()
  const troubles = new Map<string, ServiceSource | undefined>()
  const nodes = new Map<string, ServiceNode | undefined>()
  let { endpointCount } = previous
  for (const [key, objects] of changes) {
    const before = findByKey(previous.sources, key)
    const isGone = !objects.service && objects.slices.length === 0
    const after = isGone ? undefined : yield* sourceOf(key, objects, family, place, before?.nodes ?? [])
    changed.set(key, after)
    if (hasProblems(before) || hasProblems(after)) troubles.set(key, hasProblems(after) ? after : undefined)
    endpointCount += endpointsOf(after) - endpointsOf(before)
    const known = new Set(before?.nodes)
    for (const node of after?.nodes ?? []) if (!known.delete(node)) nodes.set(node.key, node)
    for (const { key: gone } of known) if (!nodes.has(gone)) nodes.set(gone, undefined)
    yield
  }
  const troubled = yield* withChangesInTurn(previous.troubled, troubles)
  return {
    family,
    ...place,
    sources: yield* withChangesInTurn(previous.sources, changed),
    nodes: yield* withChangesInTurn(previous.nodes, nodes),
    troubled,
    problems: troubles.size === 0 ? previous.problems : troubled.flatMap(({ problems }) => problems),
    endpointCount,
    version: {},
    change: { since: previous.version, keys: new Set(nodes.keys()) },
  }
}

/** Shared: most objects have none. */
const noProblems: readonly never[] = []

const hasProblems = (source: ServiceSource | undefined): boolean => source !== undefined && source.problems.length > 0

const endpointsOf = (source: ServiceSource | undefined): number =>
  source?.nodes.reduce((sum, { endpoints }) => sum + endpoints.length, 0) ?? 0

const isMadeOf = (source: ServiceSource | undefined, { service, slices }: ServiceObjects): boolean =>
  source !== undefined &&
  source.service === service &&
  source.slices.length === slices.length &&
  slices.every((slice, index) => slice === source.slices[index])

function* sourceOf(
  key: string,
  { service, slices }: ServiceObjects,
  family: IPFamily,
  place: Place,
  before: readonly ServiceNode[],
): Steps<ServiceSource> {
  const problems: Problem[] = []
  const ports = new Map<string, ServicePort>()
  for (const port of service ? servicePorts(service, family, problems, place.withoutExternalIPs) : []) {
    const object = `Service ${port.namespace}/${port.service}`
    const message = `port ${port.name} ${port.protocol} occurs twice; the later one is left out`
    if (ports.has(keyOf(port))) problems.push({ object, field: 'spec.ports', message })
    else ports.set(keyOf(port), port)
  }
  const table: EndpointTable = new Map()
  const ordered = slices.toSorted(byText((slice) => shown(slice.metadata?.name)))
  for (const slice of ordered) {
    addSlice(table, slice, family, place.nodeName, problems)
    yield
  }
  const nodes: ServiceNode[] = []
  for (const [text, port] of [...ports].sort(byText(([one]) => one))) {
    const endpoints = [...(table.get(text)?.values() ?? [])].sort(byText((endpoint) => endpoint.text))
    const node = { key: text, port, endpoints, choice: chooseEndpoints(port, endpoints, place) }
    const old = before.find((candidate) => candidate.key === text)
    nodes.push(old && JSON.stringify(old) === JSON.stringify(node) ? old : node)
    yield
  }
  return { key, service, slices, nodes, problems: problems.length > 0 ? problems : noProblems }
}
