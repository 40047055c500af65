// IP addresses as text and as bytes.

export const AF_INET = 2
export const AF_INET6 = 10

/** An address with the length of its prefix, from `10.0.0.1/24`. */
export interface Prefix {
  family: typeof AF_INET | typeof AF_INET6
  bytes: Buffer
  length: number
}

const byte = /(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)/.source
const dotted = new RegExp(`^${byte}(?:\\.${byte}){3}$`)

/** The family of an address; undefined for what is none. Without `node:net`, which takes short programs long to load. */
export function addressFamily(text: string): Family | undefined {
  if (dotted.test(text)) return 4
  const last = text.slice(text.lastIndexOf(':') + 1)
  const isSix = /^[\da-f:.]+$/i.test(text) && (!last.includes('.') || dotted.test(last))
  return isSix && text.includes(':') && URL.canParse(`http://[${text}]`) ? 6 : undefined
}

/** @throws RangeError naming what is not an address */
export function addressBytes(address: string): Buffer {
  const family = addressFamily(address)
  if (family === 4) return Buffer.from(address.split('.').map(Number))
  if (family === undefined) throw new RangeError(`not an IP address: ${JSON.stringify(address)}`)
  const [head = '', tail] = withoutDotted(address).split('::')
  const words = (part: string | undefined): number[] =>
    part ? part.split(':').map((word) => Number.parseInt(word, 16)) : []
  const [front, back] = [words(head), words(tail)]
  const all = tail === undefined ? front : [...front, ...Array<number>(8 - front.length - back.length).fill(0), ...back]
  const bytes = Buffer.alloc(16)
  all.forEach((word, index) => bytes.writeUInt16BE(word, index * 2))
  return bytes
}

/** The last 32 bits of an IPv6 address may be written like IPv4. */
function withoutDotted(address: string): string {
  const found = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address)
  if (!found) return address
  const [, front = '', ...numbers] = found
  const hex = numbers.map((number) => Number(number).toString(16).padStart(2, '0')).join('')
  return `${front}${hex.slice(0, 4)}:${hex.slice(4)}`
}

/** The canonical text. @throws RangeError for another number of bytes than 4 and 16 */
export function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return [...bytes].join('.')
  if (bytes.length !== 16) throw new RangeError(`an IP address of ${bytes.length} bytes`)
  const words = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16)).join(':')
  // The URL parser knows the canonical form of RFC 5952.
  return new URL(`http://[${words}]`).hostname.slice(1, -1)
}

/** @throws RangeError naming what is not an address with a prefix */
export function parsePrefix(text: string): Prefix {
  const [address = '', length, ...more] = text.split('/')
  const bytes = addressBytes(address)
  const bits = bytes.length * 8
  const number = length === undefined ? bits : /^\d{1,3}$/.test(length) ? Number(length) : Number.NaN
  if (more.length > 0 || !(number <= bits))
    throw new RangeError(`not an address with a prefix length: ${JSON.stringify(text)}`)
  return { family: bytes.length === 4 ? AF_INET : AF_INET6, bytes, length: number }
}

/** Whether an address is within `10.0.0.0/8` or the like. */
export function isWithin(address: string, prefix: string): boolean {
  const { bytes, length } = parsePrefix(prefix)
  const own = addressBytes(address)
  if (own.length !== bytes.length) return false
  const bits = (all: Buffer): bigint => BigInt(`0x${all.toString('hex')}`) >> BigInt(all.length * 8 - length)
  return bits(own) === bits(bytes)
}

/** IPv4 or IPv6. */
export type Family = 4 | 6

/** Of a family, or of any. */
export const familyNumber = (family: Family | undefined): number =>
  family === 4 ? AF_INET : family === 6 ? AF_INET6 : 0
