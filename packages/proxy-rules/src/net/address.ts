// IP addresses and CIDRs as the service proxy reads them: lenient on input, canonical on output.

/** An address family, spelled as Kubernetes does. */
export type IPFamily = 'IPv4' | 'IPv6'

/** A parsed address; `text` is its canonical spelling. */
export interface Address {
  family: IPFamily
  value: bigint
  text: string
}

/** A parsed range; `text` has the host bits cleared. */
export interface Cidr {
  family: IPFamily
  prefix: number
  first: bigint
  text: string
}

const widths = { IPv4: 32, IPv6: 128 } as const
const mapped = 0xffffn << 32n

const [dot, zero] = [0x2e, 0x30]
const mostDigits = 10

/** Letter by letter: a large cluster has many, and this leaves nothing behind but the result. */
const parseV4 = (text: string): Address | undefined => {
  let [value, parts, octet, digits] = [0, 0, 0, 0]
  let isCanonical = true
  for (let at = 0; at <= text.length; at += 1) {
    const code = at < text.length ? text.charCodeAt(at) : dot
    if (code === dot) {
      if (digits === 0 || octet > 255) return undefined
      value = value * 256 + octet
      parts += 1
      octet = digits = 0
      continue
    }
    const digit = code - zero
    if (digit < 0 || digit > 9 || digits === mostDigits) return undefined
    if (digits > 0 && octet === 0) isCanonical = false
    octet = octet * 10 + digit
    digits += 1
  }
  if (parts !== 4) return undefined
  const number = BigInt(value)
  return { family: 'IPv4', value: number, text: isCanonical ? text : formatV4(number) }
}

const formatV4 = (value: bigint): string => [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join('.')

/** Letters that the URL standard would read otherwise, or pass over, are none of an address. */
const lettersV6 = /^[\da-fA-F:.]+$/

/** The URL standard reads IPv6 hosts as RFC 4291 writes them, and prints them in the short form of RFC 5952. */
const canonicalV6 = (text: string): string | undefined =>
  lettersV6.test(text) ? URL.parse(`http://[${text}]`)?.hostname.slice(1, -1) : undefined

const valueV6 = (canonical: string): bigint => {
  const [head = '', tail] = canonical.split('::')
  const groups = (side: string | undefined): string[] => (side ? side.split(':') : [])
  const left = groups(head)
  const right = groups(tail)
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0')
  return [...left, ...zeros, ...right].reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n)
}

const formatV6 = (value: bigint): string =>
  canonicalV6(
    Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16)).join(':'),
  ) ?? ''

/**
 * Reads an address. Leading zeros in IPv4 octets are decimal; an IPv4-mapped IPv6 address is the IPv4 one;
 * zones are refused.
 *
 * @returns undefined when `text` is no address.
 */
export function parseAddress(text: unknown): Address | undefined {
  if (typeof text !== 'string') return undefined
  if (!text.includes(':')) return parseV4(text)
  const canonical = canonicalV6(text)
  if (canonical === undefined) return undefined
  const value = valueV6(canonical)
  if (value >> 32n !== mapped >> 32n) return { family: 'IPv6', value, text: canonical }
  const low = value & 0xffffffffn
  return { family: 'IPv4', value: low, text: formatV4(low) }
}

/**
 * Reads `address/prefix` and clears the host bits.
 *
 * @returns undefined when `text` is no CIDR.
 */
export function parseCidr(text: unknown): Cidr | undefined {
  const [, host, length] = (typeof text === 'string' && /^([^/]+)\/(\d{1,3})$/.exec(text)) || []
  const address = parseAddress(host)
  if (!address || host?.includes(':') !== (address.family === 'IPv6')) return undefined
  const prefix = Number(length)
  const width = widths[address.family]
  if (prefix > width) return undefined
  const hostBits = BigInt(width - prefix)
  const first = (address.value >> hostBits) << hostBits
  const start = address.family === 'IPv4' ? formatV4(first) : formatV6(first)
  return { family: address.family, prefix, first, text: `${start}/${prefix}` }
}

/** Whether `address` lies in `cidr`; never across families. */
export function cidrContains(cidr: Cidr, address: Address): boolean {
  if (cidr.family !== address.family) return false
  const hostBits = BigInt(widths[cidr.family] - cidr.prefix)
  return address.value >> hostBits === cidr.first >> hostBits
}

/** The first and last addresses of ranges, by family. */
const within = (...texts: string[]): Record<IPFamily, readonly (readonly [first: bigint, last: bigint])[]> => {
  const cidrs = texts.map(parseCidr).filter((cidr) => cidr !== undefined)
  const ends = (family: IPFamily): [bigint, bigint][] =>
    cidrs
      .filter((cidr) => cidr.family === family)
      .map(({ first, prefix }) => [first, first + (1n << BigInt(widths[family] - prefix)) - 1n])
  return { IPv4: ends('IPv4'), IPv6: ends('IPv6') }
}
const isWithin = (ranges: ReturnType<typeof within>, { family, value }: Address): boolean =>
  ranges[family].some(([first, last]) => value >= first && value <= last)

const loopback = within('127.0.0.0/8', '::1/128')
const special = within(
  '127.0.0.0/8',
  '::1/128',
  '0.0.0.0/32',
  '169.254.0.0/16',
  '224.0.0.0/24',
  '::/128',
  'fe80::/10',
  'ff02::/16',
)

const unassignable = within(
  '0.0.0.0/32',
  '127.0.0.0/8',
  '224.0.0.0/4',
  '255.255.255.255/32',
  '::/128',
  '::1/128',
  'ff00::/8',
)

/** Whether `address` is 127.0.0.0/8 or ::1. */
export function isLoopback(address: Address): boolean {
  return isWithin(loopback, address)
}

/** Whether `address` is unspecified, loopback or link-local: what no Service may send traffic to. */
export function isSpecial(address: Address): boolean {
  return isWithin(special, address)
}

/** Whether a device can be given `address` for a Service: not one that is unspecified, loopback, multicast or broadcast. */
export const isAssignable = (address: Address): boolean => !isWithin(unassignable, address)
