// Links: what they are, and rtnetlink's messages of them. Pure. @see rtnetlink(7)
import { decodeTable, mac, string, u32, u64 } from './codec.ts'
import type { Table } from './codec.ts'
import { decodePort } from './bridge-port.ts'
import type { BridgePort } from './bridge-port.ts'
import { decodeDetails } from './link-kinds.ts'
import type { LinkDetails, TunDetails, VethDetails } from './link-kinds.ts'
import { decodeBody, nested } from './message.ts'

export const RTM_NEWLINK = 16
export const RTM_DELLINK = 17
export const RTM_GETLINK = 18
export const RTM_SETLINK = 19

export const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  LINK: 5,
  MASTER: 10,
  PROTINFO: 12,
  TXQLEN: 13,
  OPERSTATE: 16,
  LINKINFO: 18,
  IFALIAS: 20,
  STATS64: 23,
  AF_SPEC: 26,
  GROUP: 27,
  NET_NS_FD: 28,
  EXT_MASK: 29,
  LINK_NETNSID: 37,
}
export const IFLA_INFO = { KIND: 1, DATA: 2, SLAVE_KIND: 4, SLAVE_DATA: 5 }
export const IFF = { UP: 1, PROMISC: 0x100, ALLMULTI: 0x200 }
const IF_OPER_UP = 6
const headBytes = 16

/** A link by name or by index; an index saves a question where the kernel wants one. */
export type LinkRef = string | number
/** A network namespace by the path that it is pinned at, or by an open descriptor. */
export type NetnsRef = string | number

export interface PlainSettings {
  /** For instance `02:00:00:00:00:01`. */
  mac?: string
  mtu?: number
  /** A number that many links may share, for tools that act on all of them; default 0. */
  group?: number
  /** How many packets wait in the queue of links that have one. */
  txQueueLength?: number
}

export interface LinkSettings extends PlainSettings {
  up?: boolean
  /** Whether it takes frames that are not meant for it. */
  promiscuous?: boolean
  /** Whether it takes all multicast frames. */
  allMulticast?: boolean
}

export interface LinkChange extends LinkSettings {
  /** A new name. The link must be down on older kernels. */
  name?: string
  /** A note, up to 255 bytes; empty: none. */
  alias?: string
  /** The bridge or vrf that it becomes a port of; null: none. */
  master?: LinkRef | null
  /** Where it moves to, with its new name if there is one: it loses its addresses, and is down unless `up` is set. */
  netns?: NetnsRef
  /** What is particular to its kind, for instance `{ kind: 'bridge', vlanFiltering: true }`. */
  details?: LinkDetails
}

/** The other end of a veth. It cannot be born up. */
export interface NewPeer extends PlainSettings {
  name: string
  /** Where it is born; default: where the request is made. */
  netns?: NetnsRef
}

interface NewLinkSettings extends LinkSettings {
  name: string
  master?: LinkRef
  /** The link below: of vlan, macvlan and ipvlan. It is looked for in the namespace that the request is made in. */
  parent?: LinkRef
}

export type NewLink = NewLinkSettings &
  (Exclude<LinkDetails, VethDetails | TunDetails> | (VethDetails & { peer: NewPeer }))

/** What the kernel tells of a link just made. */
export interface Born {
  index: number
  mac?: string
  /** Index of a veth's other end, which may be in another namespace. */
  peer?: number
}

export interface Link extends Required<Omit<PlainSettings, 'mac'>> {
  index: number
  name: string
  /** Kernel's kind, for instance `bridge`; absent for physical links and lo. */
  kind?: string
  /** What is particular to its kind, where the kind is known here. */
  details?: LinkDetails
  mac?: string
  alias?: string
  up: boolean
  promiscuous: boolean
  allMulticast: boolean
  /** Whether it carries traffic (RFC 2863 operational state up). */
  operational: boolean
  /** Index of the bridge or vrf that it is a port of. */
  master?: number
  /** Settings as a port of a bridge. */
  port?: BridgePort
  /** Index of a veth's other end. */
  peer?: number
  /** Index of the link below it. */
  parent?: number
  /** The id, here, of the namespace that peer or parent is in when it is another one. */
  otherNetnsId?: number
  statistics?: LinkStatistics
}

export interface LinkStatistics {
  rxPackets: number
  txPackets: number
  rxBytes: number
  txBytes: number
  rxErrors: number
  txErrors: number
  rxDropped: number
  txDropped: number
}

/** The attributes that are alike in all requests and answers. */
export const plain: Table<PlainSettings & { name?: string }> = {
  mac: [IFLA.ADDRESS, mac],
  name: [IFLA.IFNAME, string],
  mtu: [IFLA.MTU, u32],
  txQueueLength: [IFLA.TXQLEN, u32],
  group: [IFLA.GROUP, u32],
}

/** `struct ifinfomsg` */
export function linkHead(
  index = 0,
  { family = 0, flags = 0, change = 0 }: { family?: number; flags?: number; change?: number } = {},
): Buffer {
  const head = Buffer.alloc(headBytes)
  head.writeUInt8(family, 0)
  head.writeInt32LE(index, 4)
  head.writeUInt32LE(flags, 8)
  head.writeUInt32LE(change, 12)
  return head
}

export function decodeLink(data: Buffer): Link {
  const attributes = decodeBody(data, headBytes)
  const flags = data.readUInt32LE(8)
  const info = nested(attributes, IFLA.LINKINFO)
  const kind = optional(info.get(IFLA_INFO.KIND), string.decode)
  const details = kind && decodeDetails(kind, nested(info, IFLA_INFO.DATA))
  const isBridgePort = optional(info.get(IFLA_INFO.SLAVE_KIND), string.decode) === 'bridge'
  const alias = optional(attributes.get(IFLA.IFALIAS), string.decode)
  const master = optional(attributes.get(IFLA.MASTER), u32.decode)
  const other = optional(attributes.get(IFLA.LINK), u32.decode)
  const otherNetnsId = optional(attributes.get(IFLA.LINK_NETNSID), u32.decode)
  const statistics = attributes.get(IFLA.STATS64)
  return {
    index: data.readInt32LE(4),
    name: '',
    mtu: 0,
    txQueueLength: 0,
    group: 0,
    ...decodeTable(plain, attributes),
    ...(kind && { kind }),
    ...(details && { details }),
    up: (flags & IFF.UP) !== 0,
    promiscuous: (flags & IFF.PROMISC) !== 0,
    allMulticast: (flags & IFF.ALLMULTI) !== 0,
    operational: attributes.get(IFLA.OPERSTATE)?.[0] === IF_OPER_UP,
    ...(alias && { alias }),
    ...(master && { master }),
    ...(isBridgePort && { port: decodePort(nested(info, IFLA_INFO.SLAVE_DATA)) }),
    ...(other && { [kind === 'veth' ? 'peer' : 'parent']: other }),
    ...(otherNetnsId !== undefined && { otherNetnsId }),
    ...(statistics && { statistics: decodeStatistics(statistics) }),
  }
}

const optional = <Value>(content: Buffer | undefined, decodeValue: (content: Buffer) => Value): Value | undefined =>
  content && decodeValue(content)

/** `struct rtnl_link_stats64` */
function decodeStatistics(content: Buffer): LinkStatistics {
  const at = (position: number): number => u64.decode(content.subarray(position * 8))
  return {
    rxPackets: at(0),
    txPackets: at(1),
    rxBytes: at(2),
    txBytes: at(3),
    rxErrors: at(4),
    txErrors: at(5),
    rxDropped: at(6),
    txDropped: at(7),
  }
}
