// A packet to be traced, and what becomes of it on its way.
import type { Protocol } from '../graph/service-port.ts'
import { isProtocol } from '../graph/service-port.ts'
import type { VirtualServer } from '../ipvs/program.ts'
import { isPort, shown } from '../graph/problem.ts'
import { parseAddress, type Address, type IPFamily } from '../net/address.ts'

/** What connection tracking says of a packet: the first of its connection, a later one, or one that fits none. */
export type ConnectionState = 'new' | 'established' | 'invalid'

/** A packet as it reaches the node, or as the node sends it. */
export interface Packet {
  protocol: Protocol
  source: string
  /** No rule looks at it; default 0, unknown. */
  sourcePort?: number
  destination: string
  destinationPort: number
  /** Where it comes in; none means that the node itself sends it. */
  inputInterface?: string
  /** 0 to 2³²-1; default 0. */
  mark?: number
  /** Default `new`. Translation happens to new packets only: the kernel treats later ones as their first. */
  state?: ConnectionState
  /** The endpoint, as `ip:port`, that session affinity remembers for the source; default: none. */
  remembered?: string
}

/** A rule whose matches all held. */
export interface PassedRule {
  /** Of iptables, or `ipvs` for a virtual server. */
  table?: string
  chain: string
  /** As the compiler wrote it, without its chain. */
  rule: string
  /** Key and verdict of the map element that decided in nftables, or the real server that IPVS chose. */
  element?: string
}

/** A packet that rules act on. */
export interface InFlight {
  readonly family: IPFamily
  readonly protocol: string
  readonly source: Address
  destination: Address
  destinationPort: number
  /** Empty for none. */
  inputInterface: string
  mark: number
  readonly state: ConnectionState
  readonly remembered: string | undefined
  /** That of IPVS which took the packet. */
  virtualServer?: VirtualServer
  isTranslated: boolean
  isMasqueraded: boolean
  /** The directions whose nat chains have seen the packet: the kernel asks each once. */
  readonly natDone: Set<NatDirection>
  readonly passed: PassedRule[]
}

export type NatDirection = 'destination' | 'source'

const largestMark = 0xffffffff

const wrong = (field: string, value: unknown, remedy: string): RangeError =>
  new RangeError(`packet: ${field} ${shown(value)} ${remedy}`)

function addressOf(field: 'source' | 'destination', text: string, family: IPFamily): Address {
  const address = parseAddress(text)
  if (address?.family !== family) throw wrong(field, text, `is no ${family} address`)
  return address
}

/** @throws RangeError that names field and value */
export function launch(packet: Packet, family: IPFamily): InFlight {
  const { protocol, sourcePort = 0, destinationPort, inputInterface = '', mark = 0, state = 'new' } = packet
  if (!isProtocol(protocol)) throw wrong('protocol', protocol, 'is none of TCP, UDP, SCTP')
  if (sourcePort !== 0 && !isPort(sourcePort)) throw wrong('sourcePort', sourcePort, 'is no port')
  if (!isPort(destinationPort)) throw wrong('destinationPort', destinationPort, 'is no port')
  if (!Number.isInteger(mark) || mark < 0 || mark > largestMark) throw wrong('mark', mark, 'is not 0 to 0xffffffff')
  if (!['new', 'established', 'invalid'].includes(state))
    throw wrong('state', state, 'is none of new, established, invalid')
  return {
    family,
    protocol: protocol.toLowerCase(),
    source: addressOf('source', packet.source, family),
    destination: addressOf('destination', packet.destination, family),
    destinationPort,
    inputInterface,
    mark,
    state,
    remembered: packet.remembered,
    isTranslated: false,
    isMasqueraded: false,
    natDone: new Set(),
    passed: [],
  }
}

/** Gives the packet the destination that a rule writes as `ip:port` or `[ip]:port`. */
export function translate(packet: InFlight, text: string): void {
  const [, bracketed, plain, port] = /^(?:\[(.+)\]|([\d.]+)):(\d+)$/.exec(text) ?? []
  const address = parseAddress(bracketed ?? plain)
  if (address?.family !== packet.family) throw new Error(`rule: ${shown(text)} is no ${packet.family} address and port`)
  packet.destination = address
  packet.destinationPort = Number(port)
  packet.isTranslated = true
}
