// Services and EndpointSlices, joined: every service port of one family with its endpoints.
import type { Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import type { IPFamily } from '../net/address.ts'
import { chooseEndpoints, type Choice, type Place } from './choice.ts'
import { addSlice, portKey, type Endpoint, type EndpointTable } from './endpoint.ts'
import type { Problem } from './problem.ts'
import { servicePorts, type ServicePort } from './service-port.ts'

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
  /** What the nodes of each Service were made of, in their order. */
  sources: ReadonlyMap<string, ServiceSource>
}

/** The API objects of one Service, and what they gave. */
export interface ServiceSource {
  service: Service
  slices: readonly EndpointSlice[]
  nodes: readonly ServiceNode[]
  problems: readonly Problem[]
}

/** What a graph is made of: whole lists, as the API server gives them. */
export interface GraphInput extends Place {
  family: IPFamily
  services: readonly Service[]
  endpointSlices: readonly EndpointSlice[]
}

const byText =
  <T>(text: (item: T) => string) =>
  (a: T, b: T): number =>
    text(a) < text(b) ? -1 : text(a) > text(b) ? 1 : 0

const keyOf = ({ namespace, service, portName, protocol }: ServicePort): string =>
  portKey(namespace, service, portName, protocol)

/** Ends as the keys of its nodes go on, so that it sorts as they do. */
const serviceKey = (namespace: unknown, name: unknown): string => `${namespace}/${name}/`

const sliceKey = ({ metadata }: EndpointSlice): string =>
  serviceKey(metadata?.namespace, metadata?.labels?.['kubernetes.io/service-name'])

/**
 * Joins Services and EndpointSlices of one family. The order of the lists does not matter; nothing throws.
 *
 * @param previous an earlier graph: its nodes are used again, as the same objects, where nothing changed, and Services whose API
 *   objects are the same ones are not looked at again
 */
export function serviceGraph(input: GraphInput, previous?: ServiceGraph): ServiceGraph {
  const { family, nodeName, zone } = input
  const slices = Map.groupBy(input.endpointSlices, sliceKey)
  const services = new Map(
    input.services.map((item) => [serviceKey(item.metadata?.namespace, item.metadata?.name), item]),
  )
  const isSame = previous?.family === family && previous.nodeName === nodeName && previous.zone === zone
  const known = isSame ? previous.sources : undefined
  // Nearly in order when most of them were known, which makes sorting cheap.
  const keys = [...new Set([...(known?.keys() ?? []), ...services.keys()])].sort()
  const sources = new Map<string, ServiceSource>()
  const problems: Problem[] = []
  for (const key of keys) {
    const service = services.get(key)
    const own = slices.get(key) ?? []
    slices.delete(key)
    if (!service) {
      for (const slice of own) addSlice(new Map(), slice, family, nodeName, problems)
      continue
    }
    const before = known?.get(key)
    const source = before && isMadeOf(before, service, own) ? before : sourceOf(service, own, input, before)
    sources.set(key, source)
  }
  for (const slice of [...slices.values()].flat()) addSlice(new Map(), slice, family, nodeName, problems)
  const nodes = [...sources.values()].flatMap((source) => source.nodes)
  const told = [...sources.values()].flatMap((source) => source.problems)
  return { family, nodeName, zone, nodes, problems: [...told, ...problems], sources }
}

const isMadeOf = (source: ServiceSource, service: Service, slices: readonly EndpointSlice[]): boolean =>
  source.service === service &&
  source.slices.length === slices.length &&
  slices.every((slice, index) => slice === source.slices[index])

function sourceOf(
  service: Service,
  slices: readonly EndpointSlice[],
  place: GraphInput,
  before: ServiceSource | undefined,
): ServiceSource {
  const problems: Problem[] = []
  const ports = new Map<string, ServicePort>()
  for (const port of servicePorts(service, place.family, problems)) {
    const object = `Service ${port.namespace}/${port.service}`
    const message = `port ${port.name} ${port.protocol} occurs twice; the later one is left out`
    if (ports.has(keyOf(port))) problems.push({ object, field: 'spec.ports', message })
    else ports.set(keyOf(port), port)
  }
  const table: EndpointTable = new Map()
  const ordered = slices.toSorted(byText((slice) => String(slice.metadata?.name)))
  for (const slice of ordered) addSlice(table, slice, place.family, place.nodeName, problems)
  const nodes = [...ports].sort(byText(([key]) => key)).map(([key, port]): ServiceNode => {
    const endpoints = [...(table.get(key)?.values() ?? [])].sort(byText(({ text }) => text))
    const node = { key, port, endpoints, choice: chooseEndpoints(port, endpoints, place) }
    const old = before?.nodes.find((candidate) => candidate.key === key)
    return old && JSON.stringify(old) === JSON.stringify(node) ? old : node
  })
  return { service, slices, nodes, problems }
}
