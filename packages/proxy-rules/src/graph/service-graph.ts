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
  port: ServicePort
  /** All, in the order of their text, byte by byte. */
  endpoints: readonly Endpoint[]
  choice: Choice
}

/** What rules are compiled from. */
export interface ServiceGraph {
  family: IPFamily
  /** In the order of namespace, Service, port name and protocol. */
  nodes: readonly ServiceNode[]
  /** What was malformed and left out. */
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

/** Joins Services and EndpointSlices of one family. The order of the lists does not matter; nothing throws. */
export function serviceGraph(input: GraphInput): ServiceGraph {
  const { family, nodeName } = input
  const problems: Problem[] = []
  const ports = new Map<string, ServicePort>()
  for (const service of input.services) {
    for (const port of servicePorts(service, family, problems)) {
      const object = `Service ${port.namespace}/${port.service}`
      const message = `port ${port.name} ${port.protocol} occurs twice; the later one is left out`
      if (ports.has(keyOf(port))) problems.push({ object, field: 'spec.ports', message })
      else ports.set(keyOf(port), port)
    }
  }
  const table: EndpointTable = new Map()
  const slices = [...input.endpointSlices].sort(byText((slice) => String(slice.metadata?.name)))
  for (const slice of slices) addSlice(table, slice, family, nodeName, problems)
  const nodes = [...ports].sort(byText(([key]) => key)).map(([key, port]): ServiceNode => {
    const endpoints = [...(table.get(key)?.values() ?? [])].sort(byText(({ text }) => text))
    return { port, endpoints, choice: chooseEndpoints(port, endpoints, input) }
  })
  return { family, nodes, problems }
}
