// A packet at a node, with what readers of the service graph ask of it.
import type { Endpoint } from '../graph/endpoint.ts'
import type { ServiceGraph, ServiceNode } from '../graph/service-graph.ts'
import { cidrContains, parseCidr, type Address, type IPFamily } from '../net/address.ts'
import type { NodeFacts } from '../node/facts.ts'
import { localSource } from '../node/local-traffic.ts'
import type { InFlight } from './packet.ts'
import type { HookName, Refusal } from './path.ts'
import type { Outcome } from './trace-service.ts'

/** The address of a Service that a packet is sent to. */
export type Front = 'cluster IP' | 'external IP' | 'load balancer IP' | 'node port'

/** What should happen to a packet. */
export interface Meaning {
  /** `ns/name:port` of the service port that it is for; undefined when it is for none. */
  service: string | undefined
  front: Front | undefined
  /** Each is as probable as the others; several are several endpoints. */
  outcomes: readonly Outcome[]
}

/** A packet and what it meets. */
export interface Scene {
  graph: ServiceGraph
  facts: NodeFacts
  packet: InFlight
  isLocal: (address: Address) => boolean
  /** By its address it comes from the node itself. */
  isFromNode: boolean
  /** It comes from a pod of this node; undefined when that cannot be told. */
  isFromPod: boolean | undefined
  /** Where it is filtered as long as its destination stays. */
  hooks: readonly HookName[]
  /** Packets that arrive for the node itself do not come by where sources are translated. */
  canBeMasqueraded: (destination: Address) => boolean
  isMarked: boolean
}

export function sceneOf(
  graph: ServiceGraph,
  facts: NodeFacts,
  packet: InFlight,
  isLocal: (address: Address) => boolean,
): Scene {
  const arrives = packet.inputInterface !== ''
  const isForNode = isLocal(packet.destination)
  const arriving: HookName = isForNode ? 'input' : 'forward'
  const sending: readonly HookName[] = isForNode ? ['output', 'input'] : ['output']
  return {
    graph,
    facts,
    packet,
    isLocal,
    isFromNode: isLocal(packet.source),
    isFromPod: isPodTraffic(facts, graph.family, packet),
    hooks: arrives ? [arriving] : sending,
    canBeMasqueraded: (destination) => !arrives || !isLocal(destination),
    isMarked: ((packet.mark >>> facts.masqueradeBit) & 1) === 1,
  }
}

function isPodTraffic({ localTraffic }: NodeFacts, family: IPFamily, packet: InFlight): boolean | undefined {
  const source = localSource(localTraffic, family)
  if (!source) return undefined
  if ('cidr' in source) return isWithin([source.cidr], packet.source)
  const { inputInterface } = packet
  return source.isPrefix ? inputInterface.startsWith(source.name) : inputInterface === source.name
}

export const isWithin = (ranges: readonly string[], address: Address): boolean =>
  ranges.some((text) => {
    const range = parseCidr(text)
    return range !== undefined && cidrContains(range, address)
  })

/** What of a service port has the address and port that a packet is sent to, without node ports. */
export function addressFronts({ port }: ServiceNode, { destination, destinationPort, protocol }: InFlight): Front[] {
  if (port.protocol.toLowerCase() !== protocol || port.port !== destinationPort) return []
  const { text } = destination
  const fronts: Front[] = []
  if (port.clusterIP === text) fronts.push('cluster IP')
  if (port.externalIPs.includes(text)) fronts.push('external IP')
  if (port.loadBalancerVIPs.includes(text)) fronts.push('load balancer IP')
  return fronts
}

/** Those that a client stays with, or all. */
export function keptEndpoints(
  { port }: ServiceNode,
  endpoints: readonly Endpoint[],
  { remembered }: InFlight,
): readonly Endpoint[] {
  const kept = port.affinitySeconds > 0 ? endpoints.filter(({ text }) => text === remembered) : []
  return kept.length > 0 ? kept : endpoints
}

export const refused = (verdict: Refusal): Outcome[] => [{ verdict, translation: undefined, masquerade: false }]
export const untouched = (masquerade: boolean): Outcome => ({ verdict: 'accept', translation: undefined, masquerade })
