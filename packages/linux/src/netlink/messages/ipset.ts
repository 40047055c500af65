// IP sets as messages of nfnetlink and back. Pure. @see ipset(8), <linux/netfilter/ipset/ip_set.h>
import { errnoName } from '../../errors.ts'
import { AF_INET6, familyNumber } from '../ip.ts'
import type { Family } from '../ip.ts'
import { be16, be32, string, u32, u8 } from './codec.ts'
import { decodeEntry, encodeEntry, isIpsetType, NLA_F_NET_BYTEORDER } from './ipset-entry.ts'
import type { IpsetType } from './ipset-entry.ts'
import { decode, decodeAll, decodeBody, encode, nested } from './message.ts'
import type { Attribute } from './message.ts'

const NFNL_SUBSYS_IPSET = 6
const command = (number: number): number => (NFNL_SUBSYS_IPSET << 8) | number
export const IPSET_CMD: Readonly<Record<'PROTOCOL' | 'CREATE' | 'DESTROY' | 'FLUSH' | 'LIST' | 'ADD' | 'DEL', number>> = {
  PROTOCOL: command(1),
  CREATE: command(2),
  DESTROY: command(3),
  FLUSH: command(4),
  LIST: command(7),
  ADD: command(9),
  DEL: command(10),
}
/** The oldest that all kernels speak; newer ones add no message that is used here. */
const protocolVersion = 6
const ATTR = {
  PROTOCOL: 1,
  SETNAME: 2,
  TYPENAME: 3,
  REVISION: 4,
  FAMILY: 5,
  DATA: 7,
  ADT: 8,
  LINENO: 9,
}
const CREATE_ATTR = { PORT: 4, PORT_TO: 5, HASHSIZE: 18, MAXELEM: 19 }
const headBytes = 4
const lineBytes = 4
const nlmsgerrHead = 20

/** The first revision of each type that can have comments: all kernels since 3.12 have it, and all programs ipset read it. */
const revisions: Readonly<Record<IpsetType, number>> = {
  'hash:ip': 2,
  'hash:ip,port': 3,
  'hash:ip,port,ip': 3,
  'hash:ip,port,net': 5,
  'bitmap:port': 2,
}

export interface Ipset {
  /** At most 31 characters. */
  name: string
  type: IpsetType
  /** Of the addresses; a set of ports alone has none. */
  family?: Family
  /** The most entries that it takes; of sets of addresses, default 65536. */
  maxEntries?: number
}

export interface ListedIpset extends Ipset {
  /** As ipset prints them, for instance `10.0.0.1,tcp:80`. */
  entries: string[]
}

const errors: Readonly<Record<number, string>> = {
  4097: 'IPSET_ERR_PROTOCOL',
  4098: 'IPSET_ERR_FIND_TYPE',
  4099: 'IPSET_ERR_MAX_SETS',
  4100: 'IPSET_ERR_BUSY',
  4101: 'IPSET_ERR_EXIST_SETNAME2',
  4102: 'IPSET_ERR_TYPE_MISMATCH',
  4103: 'IPSET_ERR_EXIST',
  4104: 'IPSET_ERR_INVALID_CIDR',
  4105: 'IPSET_ERR_INVALID_NETMASK',
  4106: 'IPSET_ERR_INVALID_FAMILY',
  4107: 'IPSET_ERR_TIMEOUT',
  4108: 'IPSET_ERR_REFERENCED',
  4109: 'IPSET_ERR_IPADDR_IPV4',
  4110: 'IPSET_ERR_IPADDR_IPV6',
  4111: 'IPSET_ERR_COUNTER',
  4112: 'IPSET_ERR_COMMENT',
  4113: 'IPSET_ERR_INVALID_MARKMASK',
  4114: 'IPSET_ERR_SKBINFO',
}
const hashErrors: Readonly<Record<number, string>> = {
  4352: 'IPSET_ERR_HASH_FULL',
  4353: 'IPSET_ERR_HASH_ELEM',
  4354: 'IPSET_ERR_INVALID_PROTO',
  4355: 'IPSET_ERR_MISSING_PROTO',
  4356: 'IPSET_ERR_HASH_RANGE_UNSUPPORTED',
  4357: 'IPSET_ERR_HASH_RANGE',
}
const bitmapErrors: Readonly<Record<number, string>> = {
  4352: 'IPSET_ERR_BITMAP_RANGE',
  4353: 'IPSET_ERR_BITMAP_RANGE_SIZE',
}

/** The kernel's name of a refusal; from 4352 up it depends on the set's type. */
export function ipsetErrorName(errno: number, type: IpsetType | undefined): string {
  const ofType = type === 'bitmap:port' ? bitmapErrors : hashErrors
  return errors[errno] ?? (type && ofType[errno]) ?? errnoName(errno)
}

/** After `struct nfgenmsg`. */
function encodeCommand(family: Family | undefined, attributes: readonly Attribute[]): Buffer {
  const head = Buffer.from([familyNumber(family), 0, 0, 0])
  return Buffer.concat([head, encode([[ATTR.PROTOCOL, u8.encode(protocolVersion)], ...attributes])])
}

const nameAttribute = (name: string): Attribute => [ATTR.SETNAME, string.encode(name)]
const big = (type: number, content: Buffer): Attribute => [type | NLA_F_NET_BYTEORDER, content]

export function encodeNewSet({ name, type, family = 4, maxEntries = 65_536 }: Ipset): Buffer {
  const isBitmap = type === 'bitmap:port'
  const data: Attribute[] = isBitmap
    ? [big(CREATE_ATTR.PORT, be16.encode(0)), big(CREATE_ATTR.PORT_TO, be16.encode(0xffff))]
    : [big(CREATE_ATTR.HASHSIZE, be32.encode(1024)), big(CREATE_ATTR.MAXELEM, be32.encode(maxEntries))]
  return encodeCommand(family, [
    nameAttribute(name),
    [ATTR.TYPENAME, string.encode(type)],
    [ATTR.REVISION, u8.encode(revisions[type])],
    [ATTR.FAMILY, u8.encode(familyNumber(family))],
    [ATTR.DATA, data],
  ])
}

/** Of one set, or without a name of all. */
export const encodeSetName = (name?: string): Buffer =>
  encodeCommand(undefined, name === undefined ? [] : [nameAttribute(name)])

/** What is there already, or is not, is passed over unless NLM_F.EXCL is set. @throws RangeError naming an entry that cannot be in the set */
export function encodeEntries({ name, type, family }: Ipset, entries: readonly string[]): Buffer {
  const lines = entries.map((text, index): Attribute => {
    const line: Attribute = [ATTR.LINENO, u32.encode(index + 1)]
    return [ATTR.DATA, [...encodeEntry(type, text, family), line]]
  })
  return encodeCommand(family, [nameAttribute(name), [ATTR.LINENO, u32.encode(0)], [ATTR.ADT, lines]])
}

/** Which entry was refused: the kernel writes its line into the request that it sends back. */
export function refusedLine(answer: Buffer): number | undefined {
  const request = answer.subarray(nlmsgerrHead)
  const line = request.length > headBytes ? decode(request.subarray(headBytes)).get(ATTR.LINENO) : undefined
  return line && line.length >= lineBytes ? u32.decode(line) || undefined : undefined
}

/** Sets from the parts of a list: a long one comes in many, of which the first says what it is. Other types are left out. */
export function decodeSets(parts: readonly Buffer[]): ListedIpset[] {
  const sets = new Map<string, ListedIpset>()
  for (const part of parts) {
    const attributes = decodeBody(part, headBytes)
    const name = text(attributes, ATTR.SETNAME)
    const set = sets.get(name) ?? decodeHeader(name, attributes)
    if (!set) continue
    sets.set(name, set)
    for (const [, entry] of decodeAll(attributes.get(ATTR.ADT) ?? Buffer.alloc(0)))
      set.entries.push(decodeEntry(set.type, entry))
  }
  return [...sets.values()]
}

const text = (attributes: ReadonlyMap<number, Buffer>, type: number): string =>
  string.decode(attributes.get(type) ?? Buffer.alloc(0))

function decodeHeader(name: string, attributes: ReadonlyMap<number, Buffer>): ListedIpset | undefined {
  const type = text(attributes, ATTR.TYPENAME)
  if (!isIpsetType(type)) return undefined
  const most = nested(attributes, ATTR.DATA).get(CREATE_ATTR.MAXELEM)
  return {
    name,
    type,
    ...(type !== 'bitmap:port' && { family: attributes.get(ATTR.FAMILY)?.[0] === AF_INET6 ? 6 : 4 }),
    ...(most && { maxEntries: be32.decode(most) }),
    entries: [],
  }
}
