// A question of a person about a packet to a Service, and its answer by the rules that a proxy has.
import { isProtocol, type Protocol } from '../graph/service-port.ts'
import { shown } from '../graph/problem.ts'
import type { ServiceGraph, ServiceNode } from '../graph/service-graph.ts'
import { compileIptables } from '../iptables/compile.ts'
import { cidrContains, parseAddress, parseCidr, type Address } from '../net/address.ts'
import { compileIpvs } from '../ipvs/compile.ts'
import type { IpvsSettings } from '../ipvs/style.ts'
import { compileNftables } from '../nftables/compile.ts'
import type { NftablesLayout } from '../nftables/style.ts'
import type { NodeFacts } from '../node/facts.ts'
import { packetMeaning, type RuleMode } from './meaning.ts'
import type { Packet } from './packet.ts'
import { traceService, type Program, type Trace } from './trace-service.ts'

export interface Inquiry {
  /** `NAMESPACE/SERVICE`, `NAMESPACE/SERVICE:PORT` by number or name, `ADDRESS:PORT` or `[ADDRESS]:PORT`. */
  to: string
  /** Default: that of the Service's port; of an address, TCP. */
  protocol?: Protocol | undefined
  /** The sender's address; default: the node itself. */
  from?: string | undefined
  /** Where the packet comes in; default: an interface of the sender's network, or the first one that is not loopback. */
  inputInterface?: string | undefined
}

export interface InquiryAnswer {
  mode: RuleMode
  packet: Packet
  /** Of which Service the destination is, as `namespace/name:port`; undefined when of none, or several claim it. */
  service: string | undefined
  /** What of that Service it is, for instance `cluster IP`. */
  front: string | undefined
  traces: Trace[]
}

export interface InquiryContext {
  mode: RuleMode
  layout: NftablesLayout
  /** Of IPVS mode. */
  ipvs?: IpvsSettings
  /** One for each family. */
  graphs: readonly ServiceGraph[]
  facts: NodeFacts
}

/**
 * Executes the packet on the rules of those Services that it could be for: others cannot touch it.
 *
 * @throws RangeError naming what of the inquiry cannot be understood, or is not there
 */
export function answerInquiry(inquiry: Inquiry, context: InquiryContext): InquiryAnswer {
  const { mode, graphs, facts } = context
  const { to, from } = inquiry
  if (inquiry.protocol !== undefined && !isProtocol(inquiry.protocol))
    throw new RangeError(`protocol: ${shown(inquiry.protocol)} is none of TCP, UDP, SCTP`)
  const target = addressTarget(to, inquiry.protocol) ?? serviceTarget(to, inquiry.protocol, graphs)
  const { family } = target.address
  const source = parseAddress(from ?? facts.nodeIPs[family])
  if (!source)
    throw new RangeError(
      `from: ${from === undefined ? `the node has no ${family} address` : `${shown(from)} is no IP address`}`,
    )
  if (source.family !== family)
    throw new RangeError(`from: ${source.text} and ${target.address.text} are of different families`)
  const graph = graphs.find((one) => one.family === family)
  if (!graph) throw new RangeError(`to: the proxy has no rules for ${family}`)
  const inputInterface = inquiry.inputInterface ?? usualInterface(source, facts)
  const packet: Packet = {
    protocol: target.protocol,
    source: source.text,
    destination: target.address.text,
    destinationPort: target.port,
    ...(inputInterface !== undefined && { inputInterface }),
  }
  const concerned: ServiceGraph = { ...graph, nodes: graph.nodes.filter((node) => concerns(node, packet)), version: {} }
  const meaning = packetMeaning(concerned, facts, packet, mode)
  const traces = traceService(compiled(concerned, context), packet, facts)
  return { mode, packet, service: meaning?.service, front: meaning?.front, traces }
}

function compiled(graph: ServiceGraph, { mode, layout, ipvs = {}, facts }: InquiryContext): Program {
  if (mode === 'iptables') return compileIptables(graph, facts)
  return mode === 'ipvs' ? compileIpvs(graph, facts, ipvs) : compileNftables(graph, facts, { layout })
}

interface Target {
  address: Address
  port: number
  protocol: Protocol
}

function addressTarget(to: string, protocol: Protocol = 'TCP'): Target | undefined {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:[\]/]+)):(\d{1,5})$/.exec(to) ?? []
  const address = parseAddress(bracketed ?? plain)
  return address && { address, port: Number(digits), protocol }
}

function serviceTarget(to: string, protocol: Protocol | undefined, graphs: readonly ServiceGraph[]): Target {
  const [, namespace, name, port] = /^([^/:]+)\/([^/:]+)(?::([^/:]+))?$/.exec(to) ?? []
  if (namespace === undefined)
    throw new RangeError(`to: ${shown(to)} is neither NAMESPACE/SERVICE, with or without :PORT, nor ADDRESS:PORT`)
  const ofService = graphs
    .map(({ nodes }) =>
      nodes.map((node) => node.port).filter((one) => one.namespace === namespace && one.service === name),
    )
    .find((ports) => ports.length > 0)
  if (!ofService) throw new RangeError(`to: the proxy knows no Service ${namespace}/${name} with a cluster IP`)
  const fitting = ofService.filter(
    (one) =>
      (port === undefined || one.portName === port || String(one.port) === port) &&
      (protocol === undefined || one.protocol === protocol),
  )
  const [found] = fitting
  const address = parseAddress(found?.clusterIP)
  if (found && address && fitting.length === 1) return { address, port: found.port, protocol: found.protocol }
  const known = ofService.map((one) => `${one.portName && `${one.portName} `}${one.port}/${one.protocol}`).join(', ')
  throw new RangeError(`to: ${shown(to)} names ${fitting.length} ports of the Service: it has ${known}`)
}

/**
 * Whether rules of the Service's port could match: by address or as a node port. In IPVS mode also by what the packet comes from: a
 * cluster IP, or an endpoint that speaks to itself.
 */
const concerns = ({ port, endpoints }: ServiceNode, { source, destination, destinationPort }: Packet): boolean =>
  port.nodePort === destinationPort ||
  port.clusterIP === source ||
  (source === destination && endpoints.some(({ address }) => address === source)) ||
  [port.clusterIP, ...port.loadBalancerVIPs, ...port.externalIPs].some(
    (address) => parseAddress(address)?.text === destination,
  )

/** None for what the node itself sends. */
function usualInterface(source: Address, { interfaces }: NodeFacts): string | undefined {
  const all = Object.entries(interfaces).map(([name, texts]) => ({
    name,
    cidrs: texts.flatMap((text) => parseCidr(text) ?? []),
    texts,
  }))
  if (all.some(({ texts }) => texts.some((text) => parseAddress(text.split('/')[0])?.text === source.text)))
    return undefined
  const near = all.find(({ cidrs }) =>
    cidrs.some((cidr) => cidr.family === source.family && cidrContains(cidr, source)),
  )
  return (near ?? all.find(({ name }) => name !== 'lo'))?.name
}
