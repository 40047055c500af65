// What should happen to a packet, read from the service graph and nothing that is compiled from it.
import type { Endpoint } from '../graph/endpoint.ts'
import type { ServiceGraph, ServiceNode } from '../graph/service-graph.ts'
import { isLoopback, parseAddress } from '../net/address.ts'
import { checkMode, type ProxyMode } from '../mode.ts'
import { checkFacts } from '../node/check-facts.ts'
import type { NodeFacts } from '../node/facts.ts'
import { nodePortAddresses } from '../node/node-port-addresses.ts'
import { ipvsMeaning } from './ipvs-meaning.ts'
import { launch, type Packet } from './packet.ts'
import { localAddresses, type HookName, type Refusal } from './path.ts'
import {
  addressFronts,
  isWithin,
  keptEndpoints,
  refused,
  sceneOf,
  untouched,
  type Front,
  type Meaning,
  type Scene,
} from './scene.ts'
import type { Outcome } from './trace-service.ts'

interface Claim {
  node: ServiceNode
  front: Front
  /** False for a node port on an address that is not selected: it does nothing but refuse. */
  canServe: boolean
}

/** Where the modes of this file differ. */
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

const traits: Record<Exclude<ProxyMode, 'ipvs'>, Traits> = {
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

interface ModeScene extends Scene {
  mode: Traits
}

/**
 * Reads what `graph` means for a packet.
 *
 * @returns undefined when several service ports claim the packet's destination: who has it is not specified
 * @throws RangeError for a malformed packet, malformed facts, or a mode that is none
 */
export function packetMeaning(
  graph: ServiceGraph,
  facts: NodeFacts,
  packet: Packet,
  mode: ProxyMode,
): Meaning | undefined {
  checkFacts(facts)
  checkMode(mode)
  const inFlight = launch(packet, graph.family)
  if (mode === 'ipvs') return ipvsMeaning(graph, facts, inFlight)
  const scene = { ...sceneOf(graph, facts, inFlight, localAddresses(facts)), mode: traits[mode] }
  const claims = claimsOn(scene)
  if (claims.length > 1) return undefined
  const [claim] = claims
  return { service: claim?.node.port.name, front: claim?.front, outcomes: outcomesOf(scene, claim) }
}

function claimsOn(scene: ModeScene): Claim[] {
  const { protocol, destinationPort } = scene.packet
  const isNodePortHere = answersNodePorts(scene)
  const refusesHere = scene.mode.refusesAllNodePorts && scene.isLocal(scene.packet.destination)
  return scene.graph.nodes.flatMap((node): Claim[] => {
    const { port } = node
    if (port.protocol.toLowerCase() !== protocol) return []
    const fronts = addressFronts(node, scene.packet)
    const isRefused = refusesHere && servingList(node, port.externalPolicyLocal).length === 0
    if (port.nodePort === destinationPort && (isNodePortHere || isRefused)) fronts.push('node port')
    return fronts.map((front) => ({ node, front, canServe: front !== 'node port' || isNodePortHere }))
  })
}

function answersNodePorts({ facts, graph, mode, packet, isLocal }: ModeScene): boolean {
  const { destination } = packet
  const selection = facts.nodePortAddresses.length > 0 ? facts.nodePortAddresses : mode.usualNodePorts
  const localhostNodePorts = facts.localhostNodePorts && mode.hasLocalhost
  const where = nodePortAddresses({ ...facts, nodePortAddresses: selection, localhostNodePorts }, graph.family)
  if (where.all) return isLocal(destination) && (where.localhost || !isLoopback(destination))
  return where.addresses.includes(destination.text)
}

const servingList = ({ choice }: ServiceNode, isPolicyLocal: boolean): readonly Endpoint[] =>
  isPolicyLocal ? choice.local : choice.cluster

function outcomesOf(scene: ModeScene, claim: Claim | undefined): Outcome[] {
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

/** Loopback addresses are the machine's own also when the kernel routes them. */
function isForeignToLocalhost({ mode, facts, graph, packet, hooks }: ModeScene): boolean {
  if (!mode.hasLocalhost || !nodePortAddresses(facts, graph.family).localhost) return false
  if (hooks.includes('forward')) return false
  return isLoopback(packet.destination) && !isLoopback(packet.source)
}

/** iptables accepts before it refuses. */
function isHealthCheck({ graph, mode, packet, hooks }: ModeScene): boolean {
  if (mode.guardsClusterIPs || !hooks.includes('input') || packet.protocol !== 'tcp') return false
  return graph.nodes.some(({ port }) => port.healthCheckNodePort === packet.destinationPort)
}

const hasRanges = ({ node, front }: Claim): boolean => front === 'load balancer IP' && node.port.sourceRanges.length > 0

function isOutOfRange({ facts, graph, mode, packet }: ModeScene, claim: Claim): boolean {
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
function wayOf(scene: ModeScene, { node, front }: Claim): ServedWay {
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

function translated(scene: ModeScene, { node }: Claim, { endpoints, masquerade }: ServedWay): Outcome[] {
  const { packet, mode, canBeMasqueraded } = scene
  return keptEndpoints(node, endpoints, packet).map((endpoint): Outcome => {
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

function refusalOf(scene: ModeScene, claim: Claim | undefined): Refusal | undefined {
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
