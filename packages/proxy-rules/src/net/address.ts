// IP addresses and CIDRs as the service proxy reads them: lenient on input, canonical on output.
import { isIPv6 } from 'node:net'

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
const octets = /^(\d{1,10})\.(\d{1,10})\.(\d{1,10})\.(\d{1,10})$/
const mapped = 0xffffn << 32n

const parseV4 = (text: string): Address | undefined => {
  const parts = octets.exec(text)?.slice(1).map(Number)
  if (!parts || parts.some((part) => part > 255)) return undefined
  const value = parts.reduce((sum, part) => sum * 256 + part, 0)
  return { family: 'IPv4', value: BigInt(value), text: parts.join('.') }
}

const formatV4 = (value: bigint): string => [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join('.')

// The URL standard prints IPv6 hosts in the short form of RFC 5952.
const canonicalV6 = (text: string): string => new URL(`http://[${text}]`).hostname.slice(1, -1)

const valueV6 = (canonical: string): bigint => {
  const [head = '', tail] = canonical.split('::')
  const groups = (side: string | undefined): string[] => (side ? side.split(':') : [])
  const left = groups(head)
  const right = groups(tail)
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0')
  return [...left, ...zeros, ...right].reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n)
}

const formatV6 = (value: bigint): string =>
  canonicalV6(Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16)).join(':'))

/**
 * Reads an address. Leading zeros in IPv4 octets are decimal; an IPv4-mapped IPv6 address is the IPv4 one;
 * zones are refused.
 *
 * @returns undefined when `text` is no address.
 */
export function parseAddress(text: unknown): Address | undefined {
  if (typeof text !== 'string') return undefined
  if (!text.includes(':')) return parseV4(text)
  if (text.includes('%') || !isIPv6(text)) return undefined
  const canonical = canonicalV6(text)
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

const within = (...texts: string[]): readonly Cidr[] => texts.map(parseCidr).filter((cidr) => cidr !== undefined)
const loopback = within('127.0.0.0/8', '::1/128')
const special = [...loopback, ...within('0.0.0.0/32', '169.254.0.0/16', '224.0.0.0/24', '::/128', 'fe80::/10')]
const linkMulticast = within('ff02::/16')

/** Whether `address` is 127.0.0.0/8 or ::1. */
export function isLoopback(address: Address): boolean {
  return loopback.some((cidr) => cidrContains(cidr, address))
}

/** Whether `address` is unspecified, loopback or link-local: what no Service may send traffic to. */
export function isSpecial(address: Address): boolean {
  return [...special, ...linkMulticast].some((cidr) => cidrContains(cidr, address))
}
