// Tracked connections as ctnetlink messages and back. Pure. @see conntrack(8)
import { be16, ip, u32, u8 } from './codec.ts'
import { AF_INET, AF_INET6, addressBytes, familyNumber } from '../ip.ts'
import type { Family } from '../ip.ts'
import { decode, decodeBody, encode, nested } from './message.ts'
import type { Attribute } from './message.ts'

const NFNL_SUBSYS_CTNETLINK = 1
export const IPCTNL_MSG_CT_GET: number = (NFNL_SUBSYS_CTNETLINK << 8) | 1
export const IPCTNL_MSG_CT_DELETE: number = (NFNL_SUBSYS_CTNETLINK << 8) | 2
const CTA = { TUPLE_ORIG: 1, TUPLE_REPLY: 2, ID: 12, ZONE: 18, FILTER: 25 }
const CTA_TUPLE = { IP: 1, PROTO: 2 }
const CTA_IP = { 4: { source: 1, destination: 2 }, 6: { source: 3, destination: 4 } }
const CTA_PROTO = { NUM: 1, SRC_PORT: 2, DST_PORT: 3 }
const CTA_FILTER_ORIG_FLAGS = 1
/** Which parts of a filter's tuple count. */
const counts = { protocol: 0x08, sourcePort: 0x10, destinationPort: 0x20 }
const headBytes = 4

const protocols = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 }
export type FlowProtocol = keyof typeof protocols

/** One direction of a flow. */
export interface FlowTuple {
  source: string
  destination: string
  /** Absent for protocols without ports. */
  sourcePort?: number
  destinationPort?: number
}

export interface Flow {
  family: Family
  /** Number of the protocol where it has no name here. */
  protocol: FlowProtocol | number
  /** As the first packet was. */
  original: FlowTuple
  /** As answers are; where addresses are translated it is not the reverse. */
  reply: FlowTuple
  /** Kernel's number of it, so that no other flow with the same addresses is meant. */
  id: Buffer
  zone?: number
}

/** All that is given must hold. */
export interface FlowFilter {
  family: Family
  protocol?: FlowProtocol
  original?: Partial<FlowTuple>
  reply?: Partial<FlowTuple>
}

/** `struct nfgenmsg` */
const head = (family: Family): Buffer => Buffer.from([familyNumber(family), 0, 0, 0])

function encodeTuple(family: Family, protocol: FlowProtocol | number, tuple: Partial<FlowTuple>): Attribute[] {
  const { source, destination, sourcePort, destinationPort } = tuple
  const addresses: Attribute[] = []
  if (source !== undefined) addresses.push([CTA_IP[family].source, addressBytes(source)])
  if (destination !== undefined) addresses.push([CTA_IP[family].destination, addressBytes(destination)])
  const numbers: Attribute[] = [
    [CTA_PROTO.NUM, u8.encode(typeof protocol === 'number' ? protocol : protocols[protocol])],
  ]
  if (sourcePort !== undefined) numbers.push([CTA_PROTO.SRC_PORT, be16.encode(sourcePort)])
  if (destinationPort !== undefined) numbers.push([CTA_PROTO.DST_PORT, be16.encode(destinationPort)])
  return [
    [CTA_TUPLE.IP, addresses],
    [CTA_TUPLE.PROTO, numbers],
  ]
}

/**
 * The kernel filters by protocol and ports since Linux 5.8; older ones tell all flows of the family. Addresses are left
 * to `matchesFlow`: of IPv6 the kernel tells just those that do not match.
 */
export function encodeFlowFilter({
  family,
  protocol,
  original: { sourcePort, destinationPort } = {},
}: FlowFilter): Buffer {
  if (protocol === undefined) return head(family)
  const ports = {
    ...(sourcePort !== undefined && { sourcePort }),
    ...(destinationPort !== undefined && { destinationPort }),
  }
  const names = ['protocol', ...Object.keys(ports)] as (keyof typeof counts)[]
  const attributes: Attribute[] = [
    [CTA.TUPLE_ORIG, encodeTuple(family, protocol, ports)],
    [CTA.FILTER, [[CTA_FILTER_ORIG_FLAGS, u32.encode(names.reduce((sum, name) => sum | counts[name], 0))]]],
  ]
  return Buffer.concat([head(family), encode(attributes)])
}

export function encodeFlow({ family, protocol, original, id, zone }: Flow): Buffer {
  const attributes: Attribute[] = [
    [CTA.TUPLE_ORIG, encodeTuple(family, protocol, original)],
    [CTA.ID, id],
  ]
  if (zone !== undefined) attributes.push([CTA.ZONE, be16.encode(zone)])
  return Buffer.concat([head(family), encode(attributes)])
}

const protocolNames = new Map(Object.entries(protocols).map(([name, number]) => [number, name as FlowProtocol]))

export function decodeFlow(data: Buffer): Flow | undefined {
  const family = data[0] === AF_INET ? 4 : data[0] === AF_INET6 ? 6 : undefined
  const attributes = decodeBody(data, headBytes)
  const [sent, answered, id] = [attributes.get(CTA.TUPLE_ORIG), attributes.get(CTA.TUPLE_REPLY), attributes.get(CTA.ID)]
  if (!family || !sent || !answered || !id) return undefined
  const [original, reply] = [decodeTuple(sent, family), decodeTuple(answered, family)]
  if (!original || !reply) return undefined
  const { protocol, ...tuple } = original
  const { protocol: _, ...back } = reply
  const zone = attributes.get(CTA.ZONE)
  // The message's memory is not kept.
  const flow = {
    family,
    protocol: protocolNames.get(protocol) ?? protocol,
    original: tuple,
    reply: back,
    id: Buffer.from(id),
  } as const
  return zone ? { ...flow, zone: be16.decode(zone) } : flow
}

function decodeTuple(content: Buffer, family: Family): (FlowTuple & { protocol: number }) | undefined {
  const parts = decode(content)
  const addresses = nested(parts, CTA_TUPLE.IP)
  const numbers = nested(parts, CTA_TUPLE.PROTO)
  const [source, destination] = [addresses.get(CTA_IP[family].source), addresses.get(CTA_IP[family].destination)]
  const protocol = numbers.get(CTA_PROTO.NUM)
  if (!source || !destination || !protocol) return undefined
  const [from, to] = [numbers.get(CTA_PROTO.SRC_PORT), numbers.get(CTA_PROTO.DST_PORT)]
  return {
    source: ip.decode(source),
    destination: ip.decode(destination),
    protocol: u8.decode(protocol),
    ...(from && { sourcePort: be16.decode(from) }),
    ...(to && { destinationPort: be16.decode(to) }),
  }
}

export function matchesFlow(flow: Flow, { family, protocol, original, reply }: FlowFilter): boolean {
  if (flow.family !== family || (protocol !== undefined && flow.protocol !== protocol)) return false
  return holds(flow.original, original) && holds(flow.reply, reply)
}

/** With addresses spelled as they are read. */
export function canonical(tuple: Partial<FlowTuple> = {}): Partial<FlowTuple> {
  const { source, destination, ...ports } = tuple
  const spell = (address: string): string => ip.decode(addressBytes(address))
  return {
    ...ports,
    ...(source !== undefined && { source: spell(source) }),
    ...(destination !== undefined && { destination: spell(destination) }),
  }
}

function holds(tuple: FlowTuple, wanted: Partial<FlowTuple> = {}): boolean {
  const names = ['source', 'destination', 'sourcePort', 'destinationPort'] as const
  return names.every((name) => wanted[name] === undefined || wanted[name] === tuple[name])
}
