// The hash in the names of chains.
import { sha256 } from './sha256.ts'

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
const hashedBytes = 10

/** The first 16 characters of the base32 text (RFC 4648) of the SHA-256 of `text`. */
export function chainHash(text: string): string {
  const bytes = sha256(text)
  let name = ''
  let bits = 0
  let count = 0
  for (let at = 0; at < hashedBytes; at += 1) {
    bits = ((bits & 31) << 8) | (bytes[at] ?? 0)
    for (count += 8; count >= 5; count -= 5) name += alphabet[(bits >> (count - 5)) & 31]
  }
  return name
}
