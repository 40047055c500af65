// Requests about links, as bytes. Pure. @see rtnetlink(7)
import { encodeTable, string, u32 } from './codec.ts'
import { IFF, IFLA, IFLA_INFO, linkHead, plain } from './link.ts'
import type { LinkChange, LinkRef, LinkSettings, NewLink, NewPeer } from './link.ts'
import { encodeDetails } from './link-kinds.ts'
import { encode } from './message.ts'
import type { Attribute } from './message.ts'

const VETH_INFO_PEER = 1
/** For IFLA_EXT_MASK. */
const RTEXT_FILTER_SKIP_STATS = 8

function flagsOf({ up, promiscuous, allMulticast }: LinkSettings): { flags: number; change: number } {
  const bits = [
    [up, IFF.UP],
    [promiscuous, IFF.PROMISC],
    [allMulticast, IFF.ALLMULTI],
  ] as const
  const sum = (wanted: (on: boolean) => boolean): number =>
    bits.reduce((all, [on, bit]) => (on !== undefined && wanted(on) ? all | bit : all), 0)
  return { flags: sum((on) => on), change: sum(() => true) }
}

/** What was looked up or opened before a link is encoded. */
export interface Resolved {
  master?: number | undefined
  parent?: number | undefined
  netnsFd?: number | undefined
  peerNetnsFd?: number | undefined
}

const number = (type: number, value: number | undefined): Attribute[] =>
  value === undefined ? [] : [[type, u32.encode(value)]]

export function encodeNewLink(link: NewLink, { master, parent, netnsFd, peerNetnsFd }: Resolved): Buffer {
  const info: Attribute[] = [[IFLA_INFO.KIND, string.encode(link.kind)]]
  const data = link.kind === 'veth' ? [peerAttribute(link.peer, peerNetnsFd)] : encodeDetails(link)
  if (data.length > 0) info.push([IFLA_INFO.DATA, data])
  const attributes: Attribute[] = [
    ...encodeTable(plain, link),
    ...number(IFLA.LINK, parent),
    ...number(IFLA.MASTER, master),
    ...number(IFLA.NET_NS_FD, netnsFd),
    [IFLA.LINKINFO, info],
  ]
  return Buffer.concat([linkHead(0, flagsOf(link)), encode(attributes)])
}

function peerAttribute(peer: NewPeer, netnsFd: number | undefined): Attribute {
  const attributes = [...encodeTable(plain, peer), ...number(IFLA.NET_NS_FD, netnsFd)]
  return [VETH_INFO_PEER, Buffer.concat([linkHead(), encode(attributes)])]
}

/** @param link an index wherever the link gets a new name */
export function encodeLinkChange(link: LinkRef, change: LinkChange, { master, netnsFd }: Resolved): Buffer {
  const { details, alias } = change
  const attributes: Attribute[] = [
    ...(typeof link === 'string' ? [[IFLA.IFNAME, string.encode(link)] as const] : []),
    ...encodeTable(plain, change),
    ...(alias === undefined ? [] : [[IFLA.IFALIAS, Buffer.from(alias)] as const]), // without a zero at its end
    ...number(IFLA.MASTER, master),
    ...number(IFLA.NET_NS_FD, netnsFd),
  ]
  if (details) {
    attributes.push([
      IFLA.LINKINFO,
      [
        [IFLA_INFO.KIND, string.encode(details.kind)],
        [IFLA_INFO.DATA, encodeDetails(details)],
      ],
    ])
  }
  return Buffer.concat([linkHead(typeof link === 'number' ? link : 0, flagsOf(change)), encode(attributes)])
}

/** A link as an object of another request. */
export function encodeLinkRef(link: LinkRef): Buffer {
  const attributes: Attribute[] = [skipFamilyStatistics]
  if (typeof link === 'string') attributes.push([IFLA.IFNAME, string.encode(link)])
  return Buffer.concat([linkHead(typeof link === 'number' ? link : 0), encode(attributes)])
}

/** Those of IPv6, which would be half of the answer. */
const skipFamilyStatistics: Attribute = [IFLA.EXT_MASK, u32.encode(RTEXT_FILTER_SKIP_STATS)]

/** The question for those links that have a master, and are of a kind, where these are given. */
export function encodeLinkFilter(master: number | undefined, kind: string | undefined): Buffer {
  const attributes = [skipFamilyStatistics, ...number(IFLA.MASTER, master)]
  if (kind !== undefined) attributes.push([IFLA.LINKINFO, [[IFLA_INFO.KIND, string.encode(kind)]]])
  return Buffer.concat([linkHead(), encode(attributes)])
}
