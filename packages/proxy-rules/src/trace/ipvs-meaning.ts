// What should happen to a packet in IPVS mode, which reads the service graph in ways of its own.
import type { ServiceGraph, ServiceNode } from '../graph/service-graph.ts'
import type { ServicePort } from '../graph/service-port.ts'
import { isAssignable, isLoopback, parseAddress, type Address } from '../net/address.ts'
import type { NodeFacts } from '../node/facts.ts'
import { nodePortAddresses } from '../node/node-port-addresses.ts'
import type { InFlight } from './packet.ts'
import { localAddresses, type Refusal } from './path.ts'
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

interface IpvsScene extends Scene {
  /** The node has the packet's destination for Services alone. */
  isForServices: boolean
  /** Node ports are served at the packet's destination; anywhere. */
  servesNodePorts: boolean
  hasNodePorts: boolean
}

interface Claim {
  node: ServiceNode
  front: Front
}

const frontAddresses = ({ clusterIP, externalIPs, loadBalancerVIPs }: ServicePort): string[] => [
  clusterIP,
  ...externalIPs,
  ...loadBalancerVIPs,
]

/** @returns undefined when several service ports claim the packet's destination */
export function ipvsMeaning(graph: ServiceGraph, facts: NodeFacts, packet: InFlight): Meaning | undefined {
  const ofServices = new Set(graph.nodes.flatMap(({ port }) => frontAddresses(port)))
  const isOwn = localAddresses(facts)
  // All addresses of Services that a device can have are addresses of the node.
  const isOnDevice = (address: Address): boolean => ofServices.has(address.text) && isAssignable(address)
  const scene = sceneOf(graph, facts, packet, (address) => isOwn(address) || isOnDevice(address))
  const isUsual = isOwn(packet.destination) && !isLoopback(packet.destination)
  const where = nodePortAddresses({ ...facts, localhostNodePorts: false }, graph.family)
  const { text } = packet.destination
  const ipvsScene: IpvsScene = {
    ...scene,
    isForServices: isOnDevice(packet.destination) && !isUsual,
    servesNodePorts: where.all ? isUsual : where.addresses.includes(text),
    hasNodePorts: where.all || where.addresses.length > 0,
  }
  const claims = claimsOn(ipvsScene)
  if (claims.length > 1) return undefined
  const [claim] = claims
  return { service: claim?.node.port.name, front: claim?.front, outcomes: outcomesOf(ipvsScene, claim) }
}

const claimsOn = ({ graph, packet, servesNodePorts }: IpvsScene): Claim[] =>
  graph.nodes.flatMap((node) => {
    const fronts = addressFronts(node, packet)
    if (servesNodePorts && isNodePort(node, packet)) fronts.push('node port')
    return fronts.map((front) => ({ node, front }))
  })

const isNodePort = ({ port }: ServiceNode, { destinationPort, protocol }: InFlight): boolean =>
  port.nodePort === destinationPort && port.protocol.toLowerCase() === protocol

function outcomesOf(scene: IpvsScene, claim: Claim | undefined): Outcome[] {
  const { packet, hooks, canBeMasqueraded } = scene
  const isFresh = packet.state === 'new'
  const arrives = hooks[0] !== 'output'
  // What comes in is filtered before IPVS sees it, what the node sends only when IPVS does not take it.
  const refusal = hooks.includes('input') && (arrives || !isFresh || !claim) ? refusalOf(scene, claim) : undefined
  if (refusal) return refused(refusal)
  if (isFresh && claim) return served(scene, claim)
  const isHairpin = packet.source.text === packet.destination.text && isEndpointHere(scene)
  const masquerade = isFresh && (isHairpin || isMasqueraded(scene, claim))
  return [untouched(masquerade && canBeMasqueraded(packet.destination))]
}

function refusalOf(scene: IpvsScene, claim: Claim | undefined): Refusal | undefined {
  const { graph, packet, isForServices } = scene
  const isHealthCheck = graph.nodes.some(({ port }) => port.healthCheckNodePort === packet.destinationPort)
  if (isForServices && !claim && !isHealthCheck && packet.state === 'new') return 'reject'
  if (claim?.front !== 'load balancer IP' || claim.node.port.sourceRanges.length === 0) return undefined
  const isAllowed = isWithin(claim.node.port.sourceRanges, packet.source)
  return isAllowed || (isFromVIP(scene) && isNodeInRange(scene, claim)) ? undefined : 'drop'
}

/** A node outside the source ranges reaches a VIP only with another source than that, which is its own address. */
const isKeptIn = (scene: IpvsScene, claim: Claim): boolean =>
  claim.front === 'load balancer IP' &&
  claim.node.port.sourceRanges.length > 0 &&
  isFromVIP(scene) &&
  !isNodeInRange(scene, claim)

const isFromVIP = ({ packet: { source, destination } }: IpvsScene): boolean => source.text === destination.text

function isNodeInRange({ facts, graph }: IpvsScene, { node }: Claim): boolean {
  const nodeIP = parseAddress(facts.nodeIPs[graph.family])
  return nodeIP !== undefined && isWithin(node.port.sourceRanges, nodeIP)
}

/** An endpoint of this node's, ready or not, is where the packet goes. */
const isEndpointHere = ({ graph, packet: { protocol, destination, destinationPort } }: IpvsScene): boolean =>
  graph.nodes.some(
    ({ port, endpoints }) =>
      port.protocol.toLowerCase() === protocol &&
      endpoints.some((one) => one.local && one.address === destination.text && one.port === destinationPort),
  )

/** With the policy Local endpoints elsewhere are used when there are none here. */
function served(scene: IpvsScene, claim: Claim): Outcome[] {
  const { packet, isLocal, canBeMasqueraded } = scene
  const { node, front } = claim
  const { choice, port } = node
  const isLocalOnly = front === 'cluster IP' ? port.internalPolicyLocal : port.externalPolicyLocal
  const endpoints = isLocalOnly && choice.local.length > 0 ? choice.local : choice.cluster
  if (endpoints.length === 0) return refused('reject')
  return keptEndpoints(node, endpoints, packet).flatMap(({ address, port: number, local }): Outcome[] => {
    const parsed = parseAddress(address)
    if (!parsed || (isLoopback(packet.source) && !isLocal(parsed))) return refused('drop')
    // Only what comes in for the node itself is not sent out.
    if (canBeMasqueraded(parsed) && isKeptIn(scene, claim)) return refused('drop')
    const isOwn = local && address === packet.source.text
    const masquerade = (isOwn || isMasqueraded(scene, claim)) && canBeMasqueraded(parsed)
    return [{ verdict: 'accept', translation: { address, port: number }, masquerade }]
  })
}

/** Whether a new packet has the mark for masquerading, or gets it. */
function isMasqueraded(scene: IpvsScene, claim: Claim | undefined): boolean {
  const { packet, facts, isFromPod, isMarked } = scene
  if (isMarked) return true
  if (isLoopback(packet.source)) return false
  const isExternallyLocal = claim?.node.port.externalPolicyLocal
  if (claim?.front === 'load balancer IP' && !isExternallyLocal) return true
  if (facts.masqueradeAll || isFromPod !== undefined) {
    if (claim?.front === 'cluster IP' && (facts.masqueradeAll || !isFromPod)) return true
  } else if (isFromClusterIP(scene)) return true
  if (claim?.front === 'external IP') return !isExternallyLocal
  return isToNodePort(scene)
}

/** Also where the node port is not served: the number alone counts, with SCTP the address too. */
const isToNodePort = ({ graph, packet, isLocal, hasNodePorts, servesNodePorts }: IpvsScene): boolean =>
  hasNodePorts &&
  isLocal(packet.destination) &&
  (packet.protocol !== 'sctp' || servesNodePorts) &&
  graph.nodes.some((node) => isNodePort(node, packet) && !node.port.externalPolicyLocal)

/** What the node sends to a Service has the Service's address as its source. */
const isFromClusterIP = ({ graph, packet }: IpvsScene): boolean =>
  graph.nodes.some(
    ({ port }) =>
      port.clusterIP === packet.source.text &&
      port.port === packet.destinationPort &&
      port.protocol.toLowerCase() === packet.protocol,
  )
