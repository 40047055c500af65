// Addresses of links. @see rtnetlink(7), ip-address(8)
import { decodeTable, encodeTable, ip, namedBits, openNames, string, u32, u8 } from './codec.ts'
import type { Codec, Table } from './codec.ts'
import { AF_INET, AF_INET6, addressText, familyNumber, parsePrefix } from '../ip.ts'
import type { Family, Prefix } from '../ip.ts'
import { decodeBody, encode } from './message.ts'
import type { Attribute } from './message.ts'

export const RTM_NEWADDR = 20
export const RTM_DELADDR = 21
export const RTM_GETADDR = 22
const IFA = { ADDRESS: 1, LOCAL: 2, LABEL: 3, BROADCAST: 4, CACHEINFO: 6, FLAGS: 8, RT_PRIORITY: 9 }
const headBytes = 8
const forever = 0xffff_ffff

/** How far an address or a route is meant to reach; a number for one of one's own. */
export type Scope = 'global' | 'site' | 'link' | 'host' | 'nowhere' | number
export const scope: Codec<Scope> = openNames(u8, { global: 0, site: 200, link: 253, host: 254, nowhere: 255 })

export type AddressFlag =
  | 'secondary'
  /** No check whether another machine has it (IPv6). */
  | 'noDad'
  | 'optimistic'
  /** Another machine has it. */
  | 'dadFailed'
  | 'deprecated'
  /** It is being checked whether another machine has it. */
  | 'tentative'
  /** Without an end. */
  | 'permanent'
  /** No route to its network comes with it. */
  | 'noPrefixRoute'
const flags = namedBits<AddressFlag>({
  secondary: 0x01,
  noDad: 0x02,
  optimistic: 0x04,
  dadFailed: 0x08,
  deprecated: 0x20,
  tentative: 0x40,
  permanent: 0x80,
  noPrefixRoute: 0x200,
})

interface Options {
  /** A name for IPv4 that begins with the link's; default: the link's. */
  label?: string
  /** Priority of the route to its network. */
  metric?: number
  flags?: Partial<Record<AddressFlag, true>>
}

export interface NewAddress extends Options {
  /** With its prefix, for instance `10.0.0.1/24`. */
  address: string
  /** The other end of a point-to-point link, with its prefix. */
  peer?: string
  /** Default: host for loopback addresses, else global. */
  scope?: Scope
  /** Default: the last address of an IPv4 network of more than two; null: none. */
  broadcast?: string | null
  /** Until it goes, and until it is used for new connections no more; default: forever. */
  lifetime?: { validSeconds: number; preferredSeconds: number }
}

export interface Address extends Options {
  /** Of the link. */
  index: number
  family: Family
  /** With its prefix, for instance `10.0.0.1/24`. */
  address: string
  /** The other end of a point-to-point link. */
  peer?: string
  scope: Scope
  broadcast?: string
  flags: Partial<Record<AddressFlag, true>>
}

const table: Table<Options & { broadcast?: string }> = {
  broadcast: [IFA.BROADCAST, ip],
  label: [IFA.LABEL, string],
  flags: [IFA.FLAGS, flags],
  metric: [IFA.RT_PRIORITY, u32],
}

/** `struct ifaddrmsg` */
function head(index: number, family: number, length = 0, reach = 0): Buffer {
  const bytes = Buffer.alloc(headBytes)
  bytes.writeUInt8(family, 0)
  bytes.writeUInt8(length, 1)
  bytes.writeUInt8(reach, 3)
  bytes.writeUInt32LE(index, 4)
  return bytes
}

export const encodeAddressFilter = (index = 0, family?: Family): Buffer => head(index, familyNumber(family))

export function encodeAddress(index: number, { lifetime, ...address }: NewAddress): Buffer {
  const own = parsePrefix(address.address)
  const { family, bytes, length } = address.peer === undefined ? own : parsePrefix(address.peer)
  if (family !== own.family) throw new RangeError(`${address.peer} is not of the family of ${address.address}`)
  const broadcast =
    address.broadcast === undefined && address.peer === undefined ? usualBroadcast(own) : address.broadcast
  const attributes: Attribute[] = [
    [IFA.LOCAL, own.bytes],
    [IFA.ADDRESS, bytes],
    ...encodeTable(table, { ...address, broadcast: broadcast ?? undefined } as Options),
  ]
  if (lifetime) attributes.push([IFA.CACHEINFO, cacheInfo(lifetime)])
  const reach = address.scope ?? (isLoopback(own) ? 'host' : 'global')
  return Buffer.concat([head(index, family, length, scope.encode(reach)[0]), encode(attributes)])
}

/** `struct ifa_cacheinfo` */
function cacheInfo({ validSeconds, preferredSeconds }: { validSeconds: number; preferredSeconds: number }): Buffer {
  const seconds = [preferredSeconds, validSeconds].map((value) => u32.encode(Math.min(value, forever)))
  return Buffer.concat([...seconds, Buffer.alloc(8)])
}

function usualBroadcast({ family, bytes, length }: Prefix): string | undefined {
  if (family !== AF_INET || length > 30) return undefined
  const address = Buffer.alloc(4)
  address.writeUInt32BE((bytes.readUInt32BE() | (2 ** (32 - length) - 1)) >>> 0)
  return addressText(address)
}

const isLoopback = ({ family, bytes }: Prefix): boolean =>
  family === AF_INET ? bytes[0] === 127 : addressText(bytes) === '::1'

export function decodeAddress(data: Buffer): Address | undefined {
  const attributes = decodeBody(data, headBytes)
  const other = attributes.get(IFA.ADDRESS)
  const own = attributes.get(IFA.LOCAL) ?? other
  const family = data[0] === AF_INET ? 4 : data[0] === AF_INET6 ? 6 : undefined
  if (!own || !other || !family) return undefined
  const length = data.readUInt8(1)
  const isPeer = !own.equals(other)
  return {
    index: data.readUInt32LE(4),
    family,
    address: `${addressText(own)}/${isPeer ? own.length * 8 : length}`,
    ...(isPeer && { peer: `${addressText(other)}/${length}` }),
    scope: scope.decode(data.subarray(3, 4)),
    flags: {},
    ...decodeTable(table, attributes),
  }
}
