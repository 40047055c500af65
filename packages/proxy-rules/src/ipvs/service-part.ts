// What one service port asks for: virtual servers, addresses, entries of IP sets.
import type { Endpoint } from '../graph/endpoint.ts'
import type { ServiceNode } from '../graph/service-graph.ts'
import type { Protocol, ServicePort } from '../graph/service-port.ts'
import type { Rule } from '../iptables/program.ts'
import { cidrContains, isAssignable, parseAddress, parseCidr } from '../net/address.ts'
import { virtualServerFlags, type IpvsPart, type SetEntry, type VirtualServer } from './program.ts'
import { setName, type SetKey } from './sets.ts'
import type { IpvsStyle } from './style.ts'

/** Collects what the addresses of a service port need. */
interface Collection {
  node: ServiceNode
  style: IpvsStyle
  /** For traffic from inside, and from outside. */
  inside: readonly Endpoint[]
  outside: readonly Endpoint[]
  virtualServers: VirtualServer[]
  addresses: Set<string>
  entries: SetEntry[]
  rules: Rule[]
}

/** Makes the part of a node of the graph. */
export function servicePart(node: ServiceNode, style: IpvsStyle): IpvsPart {
  const { port, choice } = node
  // Without local endpoints others serve: to this node's own clients they can answer.
  const serving = (isLocal: boolean): readonly Endpoint[] =>
    isLocal && choice.local.length > 0 ? choice.local : choice.cluster
  const to: Collection = {
    node,
    style,
    inside: serving(port.internalPolicyLocal),
    outside: serving(port.externalPolicyLocal),
    virtualServers: [],
    addresses: new Set(),
    entries: [],
    rules: [],
  }
  addHairpins(to)
  addFront(to, port.clusterIP, to.inside, ['CLUSTER-IP'])
  for (const address of port.externalIPs)
    addFront(to, address, to.outside, [port.externalPolicyLocal ? 'EXTERNAL-IP-LOCAL' : 'EXTERNAL-IP'])
  for (const vip of port.loadBalancerVIPs) addVIP(to, vip)
  if (port.nodePort !== 0) addNodePort(to)
  if (port.healthCheckNodePort !== 0) add(to, 'HEALTH-CHECK-NODE-PORT', { port: port.healthCheckNodePort })
  for (const address of to.addresses) add(to, 'IPVS-IPS', { address })
  const { virtualServers, addresses, entries, rules } = to
  return { key: node.key, node, virtualServers, addresses: [...addresses], entries, rules }
}

const add = ({ entries, style }: Collection, key: SetKey, entry: Omit<SetEntry, 'set'>): void =>
  void entries.push({ set: setName(key, style.family), ...entry })

/** What local endpoints, ready or not, send to themselves is masqueraded, or their answer would not come back here. */
function addHairpins(to: Collection): void {
  const { port, endpoints } = to.node
  for (const { address, port: number, local } of endpoints)
    if (local) add(to, 'LOOP-BACK', { address, protocol: port.protocol, port: number, source: address })
}

/** A virtual server on an address of the Service's, which is put on the dummy device unless the node has it anyway or no device can. */
function addFront(to: Collection, address: string, endpoints: readonly Endpoint[], sets: readonly SetKey[]): void {
  const { port, protocol, clusterIP } = to.node.port
  to.virtualServers.push(virtualServer(to, address, port, endpoints))
  if (address === clusterIP || isMissing(address, to.style)) to.addresses.add(address)
  for (const key of sets) add(to, key, { address, protocol, port })
}

/** All that is new to an address of the device, and for no port of a Service, is refused: 127.0.0.1 is the node's own. */
function isMissing(text: string, { ownAddresses }: IpvsStyle): boolean {
  const address = parseAddress(text)
  return address !== undefined && isAssignable(address) && !ownAddresses.has(text)
}

function virtualServer(
  { node, style: { scheduler } }: Collection,
  address: string,
  port: number,
  endpoints: readonly Endpoint[],
): VirtualServer {
  const { protocol, affinitySeconds } = node.port
  const { persistent, sourcePort } = virtualServerFlags
  return {
    protocol,
    address,
    port,
    scheduler,
    flags: (affinitySeconds > 0 ? persistent : 0) | (scheduler === 'mh' ? sourcePort : 0),
    timeoutSeconds: affinitySeconds,
    realServers: endpoints.map((endpoint) => ({ address: endpoint.address, port: endpoint.port, weight: 1 })),
  }
}

function addVIP(to: Collection, vip: string): void {
  const { port } = to.node
  const isRestricted = port.sourceRanges.length > 0
  addFront(to, vip, to.outside, [
    'LOAD-BALANCER',
    ...(port.externalPolicyLocal ? (['LOAD-BALANCER-LOCAL'] as const) : []),
    ...(isRestricted ? (['LOAD-BALANCER-FW'] as const) : []),
  ])
  if (isRestricted) addSourceRanges(to, vip, port)
}

function addSourceRanges(to: Collection, vip: string, { port, protocol, sourceRanges }: ServicePort): void {
  for (const sourceRange of sourceRanges)
    add(to, 'LOAD-BALANCER-SOURCE-CIDR', { address: vip, protocol, port, sourceRange })
  const node = parseAddress(to.style.nodeIP)
  const ranges = sourceRanges.map(parseCidr).filter((range) => range !== undefined)
  if (node && ranges.some((range) => cidrContains(range, node))) {
    // The node reaches the VIP, which is its own address, with that as its source.
    add(to, 'LOAD-BALANCER-SOURCE-IP', { address: vip, protocol, port, source: vip })
    return
  }
  const server = ['--vaddr', vip, '--vproto', protocol.toLowerCase(), '--vport', String(port)]
  to.rules.push({ chain: 'KUBE-IPVS-OUT-FILTER', args: ['-s', vip, '-m', 'ipvs', ...server, '-j', 'DROP'] })
}

const nodePortSets: Record<Protocol, [all: SetKey, local: SetKey]> = {
  TCP: ['NODE-PORT-TCP', 'NODE-PORT-LOCAL-TCP'],
  UDP: ['NODE-PORT-UDP', 'NODE-PORT-LOCAL-UDP'],
  SCTP: ['NODE-PORT-SCTP-HASH', 'NODE-PORT-LOCAL-SCTP-HASH'],
}

function addNodePort(to: Collection): void {
  const { nodePort: port, protocol, externalPolicyLocal } = to.node.port
  const addresses = to.style.nodePortAddresses
  if (addresses.length === 0) return
  const [all, local] = nodePortSets[protocol]
  const entries = protocol === 'SCTP' ? addresses.map((address) => ({ address, protocol, port })) : [{ port }]
  for (const entry of entries) {
    add(to, all, entry)
    if (externalPolicyLocal) add(to, local, entry)
  }
  for (const address of addresses) to.virtualServers.push(virtualServer(to, address, port, to.outside))
}
