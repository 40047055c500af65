// What should happen to a packet, read from the service graph and nothing that is compiled from it.
import type { Endpoint } from '../graph/endpoint.ts'
import type { ServiceGraph, ServiceNode } from '../graph/service-graph.ts'
import { cidrContains, isLoopback, parseAddress, parseCidr, type Address, type IPFamily } from '../net/address.ts'
import type { ProxyMode } from '../mode.ts'
import { checkFacts } from '../node/check-facts.ts'
import type { NodeFacts } from '../node/facts.ts'
import { localSource } from '../node/local-traffic.ts'
import { nodePortAddresses } from '../node/node-port-addresses.ts'
import { launch, type InFlight, type Packet } from './packet.ts'
import { localAddresses, type HookName, type Refusal } from './path.ts'
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

interface Claim {
  node: ServiceNode
  front: Front
  /** False for a node port on an address that is not selected: it does nothing but refuse. */
  canServe: boolean
}

/** Where modes differ; the rest of this file holds for all. */
interface Traits {
  /** Without endpoints: where packets to cluster IPs, to other addresses, and to node ports are refused. */
  refusesClusterIPs: readonly HookName[]
  refusesAddresses: readonly HookName[]
  /** Node ports without endpoints are refused on all local addresses, selected or not. */
  refusesAllNodePorts: boolean
  /** Source ranges bind also where there are no endpoints. */
  alwaysHasRanges: boolean
  /** What goes to an address with source ranges and finds no endpoint is dropped before anything accepts it. */
  dropsUntranslated: boolean
  /** Other ports of cluster IPs are rejected, unallocated cluster IPs dropped. */
  guardsClusterIPs: boolean
  /** Node ports may answer on 127.0.0.0/8, which then is kept to the machine. */
  hasLocalhost: boolean
  /** Forwarded packets that fit no connection are dropped; those with the mark for masquerading are let through before that. */
  filtersForwarded: boolean
  /** Which endpoints have answers to their own requests masqueraded. */
  hairpins: 'all' | 'local'
  /** Where node ports answer when nothing is configured. */
  usualNodePorts: readonly string[]
}

const traits: Record<ProxyMode, Traits> = {
  iptables: {
    refusesClusterIPs: ['forward', 'output'],
    refusesAddresses: ['input', 'forward'],
    refusesAllNodePorts: true,
    alwaysHasRanges: false,
    dropsUntranslated: true,
    guardsClusterIPs: false,
    hasLocalhost: true,
    filtersForwarded: true,
    hairpins: 'all',
    usualNodePorts: [],
  },
  nftables: {
    refusesClusterIPs: ['input', 'forward', 'output'],
    refusesAddresses: ['input', 'forward', 'output'],
    refusesAllNodePorts: false,
    alwaysHasRanges: true,
    dropsUntranslated: false,
    guardsClusterIPs: true,
    hasLocalhost: false,
    filtersForwarded: false,
    hairpins: 'local',
    usualNodePorts: ['primary'],
  },
}

/** A packet at a node, with what the graph's reader asks of it. */
interface Scene {
  graph: ServiceGraph
  facts: NodeFacts
  mode: Traits
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

/**
 * Reads what `graph` means for a packet.
 *
 * @returns undefined when several service ports claim the packet's destination: who has it is not specified
 * @throws RangeError for a malformed packet, or malformed facts
 */
export function packetMeaning(
  graph: ServiceGraph,
  facts: NodeFacts,
  packet: Packet,
  mode: ProxyMode,
): Meaning | undefined {
  checkFacts(facts)
  const scene = sceneOf(graph, facts, launch(packet, graph.family), traits[mode])
  const claims = claimsOn(scene)
  if (claims.length > 1) return undefined
  const [claim] = claims
  return { service: claim?.node.port.name, front: claim?.front, outcomes: outcomesOf(scene, claim) }
}

function sceneOf(graph: ServiceGraph, facts: NodeFacts, packet: InFlight, mode: Traits): Scene {
  const isLocal = localAddresses(facts)
  const arrives = packet.inputInterface !== ''
  const isForNode = isLocal(packet.destination)
  const arriving: HookName = isForNode ? 'input' : 'forward'
  const sending: readonly HookName[] = isForNode ? ['output', 'input'] : ['output']
  return {
    graph,
    facts,
    mode,
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

const isWithin = (ranges: readonly string[], address: Address): boolean =>
  ranges.some((text) => {
    const range = parseCidr(text)
    return range !== undefined && cidrContains(range, address)
  })

function claimsOn(scene: Scene): Claim[] {
  const { text } = scene.packet.destination
  const { protocol, destinationPort } = scene.packet
  const isNodePortHere = answersNodePorts(scene)
  const refusesHere = scene.mode.refusesAllNodePorts && scene.isLocal(scene.packet.destination)
  return scene.graph.nodes.flatMap((node): Claim[] => {
    const { port } = node
    if (port.protocol.toLowerCase() !== protocol) return []
    const fronts: Front[] = []
    if (port.port === destinationPort) {
      if (port.clusterIP === text) fronts.push('cluster IP')
      if (port.externalIPs.includes(text)) fronts.push('external IP')
      if (port.loadBalancerVIPs.includes(text)) fronts.push('load balancer IP')
    }
    const isRefused = refusesHere && servingList(node, port.externalPolicyLocal).length === 0
    if (port.nodePort === destinationPort && (isNodePortHere || isRefused)) fronts.push('node port')
    return fronts.map((front) => ({ node, front, canServe: front !== 'node port' || isNodePortHere }))
  })
}

function answersNodePorts({ facts, graph, mode, packet, isLocal }: Scene): boolean {
  const { destination } = packet
  const selection = facts.nodePortAddresses.length > 0 ? facts.nodePortAddresses : mode.usualNodePorts
  const localhostNodePorts = facts.localhostNodePorts && mode.hasLocalhost
  const where = nodePortAddresses({ ...facts, nodePortAddresses: selection, localhostNodePorts }, graph.family)
  if (where.all) return isLocal(destination) && (where.localhost || !isLoopback(destination))
  return where.addresses.includes(destination.text)
}

const servingList = ({ choice }: ServiceNode, isPolicyLocal: boolean): readonly Endpoint[] =>
  isPolicyLocal ? choice.local : choice.cluster

function outcomesOf(scene: Scene, claim: Claim | undefined): Outcome[] {
  const { packet, mode, facts, hooks } = scene
  if (packet.state === 'established') return [untouched(false)]
  const isForwarded = hooks.includes('forward')
  if (packet.state === 'invalid') {
    const isDropped = isForwarded && mode.filtersForwarded && !facts.conntrackLiberal
    return isDropped || isForeignToLocalhost(scene) ? refused('drop') : [untouched(false)]
  }
  if (claim && isOutOfRange(scene, claim)) return refused('drop')
  const way = claim?.canServe ? wayOf(scene, claim) : undefined
  if (claim && way && way.endpoints.length > 0) return translated(scene, claim, way)
  if (isForeignToLocalhost(scene)) return refused('drop')
  if (claim && mode.dropsUntranslated && hasRanges(claim) && claim.node.choice.hasAny) return refused('drop')
  const passesFilters = isForwarded && mode.filtersForwarded && scene.isMarked
  const refusal = passesFilters || isHealthCheck(scene) ? undefined : refusalOf(scene, claim)
  if (refusal) return refused(refusal)
  return [untouched(scene.isMarked && scene.canBeMasqueraded(packet.destination))]
}

const refused = (verdict: Refusal): Outcome[] => [{ verdict, translation: undefined, masquerade: false }]
const untouched = (masquerade: boolean): Outcome => ({ verdict: 'accept', translation: undefined, masquerade })

/** Loopback addresses are the machine's own also when the kernel routes them. */
function isForeignToLocalhost({ mode, facts, graph, packet, hooks }: Scene): boolean {
  if (!mode.hasLocalhost || !nodePortAddresses(facts, graph.family).localhost) return false
  if (hooks.includes('forward')) return false
  return isLoopback(packet.destination) && !isLoopback(packet.source)
}

/** iptables accepts before it refuses. */
function isHealthCheck({ graph, mode, packet, hooks }: Scene): boolean {
  if (mode.guardsClusterIPs || !hooks.includes('input') || packet.protocol !== 'tcp') return false
  return graph.nodes.some(({ port }) => port.healthCheckNodePort === packet.destinationPort)
}

const hasRanges = ({ node, front }: Claim): boolean => front === 'load balancer IP' && node.port.sourceRanges.length > 0

function isOutOfRange({ facts, graph, mode, packet }: Scene, claim: Claim): boolean {
  const { node } = claim
  const { sourceRanges, loadBalancerVIPs } = node.port
  if (!hasRanges(claim)) return false
  if (!node.choice.hasAny && !mode.alwaysHasRanges) return false
  if (isWithin(sourceRanges, packet.source)) return false
  // A node within the ranges may reach the address with that address as its source.
  const nodeIP = parseAddress(facts.nodeIPs[graph.family])
  const isNodeIn = nodeIP !== undefined && isWithin(sourceRanges, nodeIP)
  return !(isNodeIn && loadBalancerVIPs.includes(packet.source.text))
}

interface ServedWay {
  endpoints: readonly Endpoint[]
  masquerade: boolean
}

/** The table of front addresses and policies. */
function wayOf(scene: Scene, { node, front }: Claim): ServedWay {
  const { port, choice } = node
  if (front === 'cluster IP') {
    const masquerade = scene.facts.masqueradeAll || scene.isFromPod === false
    return { endpoints: servingList(node, port.internalPolicyLocal), masquerade }
  }
  if (!port.externalPolicyLocal) return { endpoints: choice.cluster, masquerade: true }
  if (scene.isFromPod) return { endpoints: choice.cluster, masquerade: false }
  if (scene.isFromNode) return { endpoints: choice.cluster, masquerade: true }
  return { endpoints: choice.local, masquerade: false }
}

function translated(scene: Scene, { node }: Claim, { endpoints, masquerade }: ServedWay): Outcome[] {
  const { packet, mode, canBeMasqueraded } = scene
  const kept = node.port.affinitySeconds > 0 ? endpoints.filter(({ text }) => text === packet.remembered) : []
  return (kept.length > 0 ? kept : endpoints).map((endpoint): Outcome => {
    const { address, port, local } = endpoint
    const isOwn = address === packet.source.text && (local || mode.hairpins === 'all')
    const parsed = parseAddress(address)
    return {
      verdict: 'accept',
      translation: { address, port },
      masquerade: (masquerade || isOwn || scene.isMarked) && parsed !== undefined && canBeMasqueraded(parsed),
    }
  })
}

function refusalOf(scene: Scene, claim: Claim | undefined): Refusal | undefined {
  const { mode, hooks, graph, facts, packet } = scene
  if (claim && hooks.some((hook) => refusingHooks(mode, claim.front).includes(hook)))
    return claim.node.choice.hasAny ? 'drop' : 'reject'
  if (!mode.guardsClusterIPs || !(hooks.includes('forward') || hooks.includes('output'))) return undefined
  if (graph.nodes.some(({ port }) => port.clusterIP === packet.destination.text)) return 'reject'
  return isWithin(facts.serviceCIDRs ?? [], packet.destination) ? 'drop' : undefined
}

function refusingHooks(mode: Traits, front: Front): readonly HookName[] {
  if (front === 'cluster IP') return mode.refusesClusterIPs
  return front === 'node port' ? ['input'] : mode.refusesAddresses
}
