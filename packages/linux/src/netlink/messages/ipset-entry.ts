// Entries of IP sets: texts as ipset prints them, and attributes. Pure.
import { AF_INET, addressBytes, addressText, parsePrefix } from '../ip.ts'
import type { Family } from '../ip.ts'
import { be16, u8 } from './codec.ts'
import { decode, encode, nested } from './message.ts'
import type { Attribute } from './message.ts'

/** Of an attribute's number: its content is in network byte order. */
export const NLA_F_NET_BYTEORDER = 0x4000
const ATTR = { IP: 1, PORT: 4, PROTO: 7, IP2: 20, CIDR2: 21 }
const ATTR_IPADDR = { 4: 1, 16: 2 }

const protocols = { tcp: 6, udp: 17, sctp: 132, udplite: 136 }
type Protocol = keyof typeof protocols
const protocolNames = new Map(Object.entries(protocols).map(([name, number]) => [number, name]))

/** The parts of an entry, in their order, by type of set. */
const shapes = {
  'hash:ip': ['ip'],
  'hash:ip,port': ['ip', 'port'],
  'hash:ip,port,ip': ['ip', 'port', 'ip2'],
  'hash:ip,port,net': ['ip', 'port', 'net2'],
  'bitmap:port': ['number'],
} as const

export type IpsetType = keyof typeof shapes
export const isIpsetType = (text: string): text is IpsetType => text in shapes

function addressAttribute(type: number, bytes: Buffer): Attribute {
  const inner = bytes.length === 4 ? ATTR_IPADDR[4] : ATTR_IPADDR[16]
  return [type, [[inner | NLA_F_NET_BYTEORDER, bytes]]]
}

function portNumber(text: string): number {
  const number = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (number <= 0xffff) return number
  throw new RangeError(`not a port: ${JSON.stringify(text)}`)
}

const portAttribute = (text: string): Attribute => [ATTR.PORT | NLA_F_NET_BYTEORDER, be16.encode(portNumber(text))]

/** The bytes of a network, without those bits of its address that its length leaves out. */
function networkBytes(bytes: Buffer, length: number): Buffer {
  return Buffer.from(bytes.map((byte, at) => byte & (0xff00 >> Math.min(Math.max(length - at * 8, 0), 8)) & 0xff))
}

/** How each part is written. */
const writers: Record<(typeof shapes)[IpsetType][number], (text: string) => Attribute[]> = {
  ip: (text) => [addressAttribute(ATTR.IP, addressBytes(text))],
  ip2: (text) => [addressAttribute(ATTR.IP2, addressBytes(text))],
  net2: (text) => {
    const { bytes, length } = parsePrefix(text)
    return [addressAttribute(ATTR.IP2, networkBytes(bytes, length)), [ATTR.CIDR2, u8.encode(length)]]
  },
  port: (text) => {
    const [name = '', number = '', ...more] = text.split(':')
    if (!(name in protocols) || more.length > 0)
      throw new RangeError(`not a port with its protocol: ${JSON.stringify(text)}`)
    return [portAttribute(number), [ATTR.PROTO, u8.encode(protocols[name as Protocol])]]
  },
  number: (text) => [portAttribute(text)],
}

/**
 * @param family which its addresses must be of; default: any
 * @throws RangeError naming what of it cannot be in a set of this type
 */
export function encodeEntry(type: IpsetType, text: string, family?: Family): Attribute[] {
  const parts = text.split(',')
  const shape = shapes[type]
  if (parts.length !== shape.length) throw new RangeError(`no entry of a set ${type}: ${JSON.stringify(text)}`)
  const attributes = shape.flatMap((part, index) => writers[part](parts[index] ?? ''))
  // The kernel would not say which one it was.
  const other = family && attributes.find(([, content]) => isAddress(content) && !isAddress(content, family))
  if (other) throw new RangeError(`no entry of a set of IPv${family}: ${JSON.stringify(text)}`)
  return attributes
}

function isAddress(content: Attribute[1], family?: Family): boolean {
  if (Buffer.isBuffer(content)) return false
  return family === undefined || content[0]?.[1].length === (family === 4 ? 4 : 16)
}

/** The text as ipset prints it. */
export function decodeEntry(type: IpsetType, content: Buffer): string {
  const attributes = decode(content)
  const get = (number: number): Buffer => attributes.get(number) ?? Buffer.alloc(2)
  const address = (number: number): string => {
    const inner = nested(attributes, number)
    return addressText(inner.get(ATTR_IPADDR[4]) ?? inner.get(ATTR_IPADDR[16]) ?? Buffer.alloc(0))
  }
  const port = (): string => String(be16.decode(get(ATTR.PORT)))
  const readers: Record<(typeof shapes)[IpsetType][number], () => string> = {
    ip: () => address(ATTR.IP),
    ip2: () => address(ATTR.IP2),
    net2: () => {
      const base = address(ATTR.IP2)
      const length = u8.decode(attributes.get(ATTR.CIDR2) ?? u8.encode(0))
      const isOne = length === (parsePrefix(base).family === AF_INET ? 32 : 128) || !attributes.has(ATTR.CIDR2)
      return isOne ? base : `${base}/${length}`
    },
    port: () => {
      const number = u8.decode(get(ATTR.PROTO))
      return `${protocolNames.get(number) ?? number}:${port()}`
    },
    number: port,
  }
  return shapes[type].map((part) => readers[part]()).join(',')
}

/** An entry as it is read back: networks without what their length leaves out. @throws RangeError as `encodeEntry` does */
export const canonicalEntry = (type: IpsetType, text: string): string =>
  decodeEntry(type, encode(encodeEntry(type, text)))
