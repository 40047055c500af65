// Routes. @see rtnetlink(7), ip-route(8)
import { scope } from './address.ts'
import type { Scope } from './address.ts'
import { decodeTable, encodeTable, ip, openNames, u32, u8 } from './codec.ts'
import type { Codec, Table } from './codec.ts'
import { AF_INET, AF_INET6, addressBytes, addressText, familyNumber, parsePrefix } from '../ip.ts'
import type { Family } from '../ip.ts'
import { decode, decodeBody, encode } from './message.ts'
import type { Attribute } from './message.ts'
import type { LinkRef } from './link.ts'

export const RTM_NEWROUTE = 24
export const RTM_DELROUTE = 25
export const RTM_GETROUTE = 26
const RTA = { DST: 1, OIF: 4, GATEWAY: 5, PRIORITY: 6, PREFSRC: 7, METRICS: 8, MULTIPATH: 9, TABLE: 15, VIA: 18 }
const RTNH_F_ONLINK = 4
const headBytes = 12
const nextHopBytes = 8

export const RT_TABLE_MAIN = 254

/** A number where it has no name here. */
export type RouteType =
  | 'unicast'
  | 'local'
  | 'broadcast'
  | 'anycast'
  | 'multicast'
  | 'blackhole'
  | 'unreachable'
  | 'prohibit'
  | 'throw'
  | number
const type: Codec<RouteType> = openNames(u8, {
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
})
/** Who made a route; a number where it has no name here. */
export type RouteProtocol = 'redirect' | 'kernel' | 'boot' | 'static' | 'ra' | 'dhcp' | number
const protocol: Codec<RouteProtocol> = openNames(u8, { redirect: 1, kernel: 2, boot: 3, static: 4, ra: 9, dhcp: 16 })

interface Hop {
  /** Of the route's family or, for IPv4, also of IPv6. */
  gateway?: string
  /** The gateway is taken to be on the link, whatever the addresses say. */
  onLink?: boolean
}
export interface NextHop extends Hop {
  link: LinkRef
  /** Default 1. */
  weight?: number
}

interface Options {
  /** Of routes to one destination the one with the lowest is taken. */
  metric?: number
  /** The address that packets are sent from. */
  source?: string
  mtu?: number
  /** The largest TCP segment that is announced. */
  advMss?: number
}

export interface NewRoute extends Options, Hop {
  /** For instance `10.0.0.0/24`; `0.0.0.0/0` and `::/0` are defaults. */
  destination: string
  link?: LinkRef
  /** Several ways at once, in place of `gateway` and `link`. */
  nextHops?: readonly NextHop[]
  /** Default: main (254). */
  table?: number
  /** Default: link without a gateway, host for local routes, else global. */
  scope?: Scope
  /** Default: unicast. */
  type?: RouteType
  /** Default: boot. */
  protocol?: RouteProtocol
}

export interface Route extends Options, Hop {
  family: Family
  destination: string
  /** Link index. */
  index?: number
  nextHops?: (Hop & { index: number; weight: number })[]
  table: number
  scope: Scope
  type: RouteType
  protocol: RouteProtocol
}

const table: Table<Pick<Options, 'metric' | 'source'> & { table?: number; index?: number }> = {
  metric: [RTA.PRIORITY, u32],
  source: [RTA.PREFSRC, ip],
  table: [RTA.TABLE, u32],
  index: [RTA.OIF, u32],
}
const metrics: Table<Pick<Options, 'mtu' | 'advMss'>> = {
  mtu: [2, u32], // RTAX_MTU
  advMss: [8, u32], // RTAX_ADVMSS
}

interface Head {
  family: number
  length?: number
  table?: number
  protocol?: number
  scope?: number
  type?: number
  flags?: number
}

/** `struct rtmsg` */
function head({
  family,
  length = 0,
  table: id = 0,
  protocol: by = 0,
  scope: reach = 0,
  type: kind = 0,
  flags = 0,
}: Head): Buffer {
  const bytes = Buffer.alloc(headBytes)
  for (const [at, value] of [family, length, 0, 0, id < 256 ? id : 0, by, reach, kind].entries())
    bytes.writeUInt8(value, at)
  bytes.writeUInt32LE(flags, 8)
  return bytes
}

/** What was looked up before a route is encoded. */
export interface RouteLinks {
  index?: number | undefined
  /** Of the next hops, in their order. */
  hops?: readonly number[]
}

export function encodeRoute(route: NewRoute, { index, hops = [] }: RouteLinks): Buffer {
  const { family, bytes, length } = parsePrefix(route.destination)
  const { gateway, onLink, nextHops, table: id = RT_TABLE_MAIN, type: kind = 'unicast' } = route
  const fields = { ...route, table: id, index }
  const attributes: Attribute[] = [
    ...(length === 0 ? [] : [[RTA.DST, bytes] as const]),
    ...gatewayAttributes(gateway, family),
    ...encodeTable(table, fields as typeof route & { index?: number }),
  ]
  const inMetrics = encodeTable(metrics, route)
  if (inMetrics.length > 0) attributes.push([RTA.METRICS, inMetrics])
  if (nextHops)
    attributes.push([RTA.MULTIPATH, Buffer.concat(nextHops.map((hop, at) => encodeHop(hop, hops[at] ?? 0, family)))])
  const isDirect = kind === 'unicast' && gateway === undefined && nextHops === undefined
  const reach = route.scope ?? (kind === 'local' ? 'host' : isDirect ? 'link' : 'global')
  const fixed = head({
    family,
    length,
    table: id,
    protocol: protocol.encode(route.protocol ?? 'boot')[0] ?? 0,
    scope: scope.encode(reach)[0] ?? 0,
    type: type.encode(kind)[0] ?? 0,
    flags: onLink ? RTNH_F_ONLINK : 0,
  })
  return Buffer.concat([fixed, encode(attributes)])
}

function gatewayAttributes(gateway: string | undefined, family: number): Attribute[] {
  if (gateway === undefined) return []
  const bytes = addressBytes(gateway)
  const own = bytes.length === 4 ? AF_INET : AF_INET6
  if (own === family) return [[RTA.GATEWAY, bytes]]
  return [[RTA.VIA, Buffer.concat([Buffer.from([own, 0]), bytes])]]
}

/** `struct rtnexthop` and its attributes. */
function encodeHop({ gateway, onLink, weight = 1 }: NextHop, index: number, family: number): Buffer {
  const attributes = encode(gatewayAttributes(gateway, family))
  const bytes = Buffer.alloc(nextHopBytes)
  bytes.writeUInt16LE(nextHopBytes + attributes.length, 0)
  bytes.writeUInt8(onLink ? RTNH_F_ONLINK : 0, 2)
  bytes.writeUInt8(weight - 1, 3)
  bytes.writeInt32LE(index, 4)
  return Buffer.concat([bytes, attributes])
}

export interface RouteFilter {
  family?: Family
  /** Default: main (254); null: of all tables. */
  table?: number | null
  link?: LinkRef
  protocol?: RouteProtocol
  type?: RouteType
}

export function encodeRouteFilter({ family, table: id = RT_TABLE_MAIN, ...more }: RouteFilter, index?: number): Buffer {
  const fixed = head({
    family: familyNumber(family),
    table: id ?? 0,
    protocol: more.protocol === undefined ? 0 : (protocol.encode(more.protocol)[0] ?? 0),
    type: more.type === undefined ? 0 : (type.encode(more.type)[0] ?? 0),
  })
  const attributes: Attribute[] = id === null ? [] : [[RTA.TABLE, u32.encode(id)]]
  if (index !== undefined) attributes.push([RTA.OIF, u32.encode(index)])
  return Buffer.concat([fixed, encode(attributes)])
}

/** The question which way packets to an address go. */
export function encodeRouteLookup(address: string): Buffer {
  const { family, bytes, length } = parsePrefix(address)
  return Buffer.concat([head({ family, length }), encode([[RTA.DST, bytes]])])
}

export function decodeRoute(data: Buffer): Route | undefined {
  const family = data[0] === AF_INET ? 4 : data[0] === AF_INET6 ? 6 : undefined
  if (family === undefined) return undefined
  const attributes = decodeBody(data, headBytes)
  const destination = attributes.get(RTA.DST)
  const inMetrics = attributes.get(RTA.METRICS)
  const multipath = attributes.get(RTA.MULTIPATH)
  return {
    family,
    destination: `${destination ? addressText(destination) : family === 4 ? '0.0.0.0' : '::'}/${data.readUInt8(1)}`,
    protocol: protocol.decode(data.subarray(5, 6)),
    scope: scope.decode(data.subarray(6, 7)),
    type: type.decode(data.subarray(7, 8)),
    table: data.readUInt8(4),
    ...decodeTable(table, attributes),
    ...decodeGateway(attributes, data.readUInt32LE(8)),
    ...(inMetrics && decodeTable(metrics, decode(inMetrics))),
    ...(multipath && { nextHops: decodeHops(multipath) }),
  }
}

function decodeGateway(attributes: ReadonlyMap<number, Buffer>, flags: number): Hop {
  const gateway = attributes.get(RTA.GATEWAY) ?? attributes.get(RTA.VIA)?.subarray(2)
  return { ...(gateway && { gateway: addressText(gateway) }), ...((flags & RTNH_F_ONLINK) !== 0 && { onLink: true }) }
}

function decodeHops(content: Buffer): (Hop & { index: number; weight: number })[] {
  const hops = []
  for (let at = 0; at + nextHopBytes <= content.length;) {
    const length = content.readUInt16LE(at)
    if (length < nextHopBytes) break
    const attributes = decode(content.subarray(at + nextHopBytes, at + length))
    const hop = decodeGateway(attributes, content.readUInt8(at + 2))
    hops.push({ ...hop, index: content.readInt32LE(at + 4), weight: content.readUInt8(at + 3) + 1 })
    at += (length + 3) & ~3
  }
  return hops
}
