// The hash in the names of chains.
import { hash } from 'node:crypto'

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/** The first 16 characters of the base32 text (RFC 4648) of the SHA-256 of `text`. */
export function chainHash(text: string): string {
  const bits = BigInt(`0x${hash('sha256', text, 'hex').slice(0, 20)}`)
  return Array.from({ length: 16 }, (_, i) => alphabet[Number((bits >> BigInt(75 - 5 * i)) & 31n)]).join('')
}
