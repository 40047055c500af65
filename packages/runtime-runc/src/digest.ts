// Digests as OCI writes them: an algorithm, a colon, and what it makes of the content, in hex.
import { createHash } from 'node:crypto'

/** Those that the specification has, and what others' images use. @see OCI image-spec, descriptor */
export const algorithms = ['sha256', 'sha384', 'sha512'] as const

export const digestPattern: RegExp = /^(?:sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128})$/
export const digestRule = 'a digest is sha256: and 64 hex digits, sha384: and 96 or sha512: and 128'

export const algorithmOf = (digest: string): string => digest.slice(0, digest.indexOf(':'))
export const hexOf = (digest: string): string => digest.slice(digest.indexOf(':') + 1)

/** Computes a digest of the same algorithm piece by piece. */
export function hasherLike(digest: string): { update(chunk: Uint8Array): void; digest(): string } {
  const algorithm = algorithmOf(digest)
  const hash = createHash(algorithm)
  return { update: (chunk) => void hash.update(chunk), digest: () => `${algorithm}:${hash.digest('hex')}` }
}

/** The digest of content by the algorithm of another digest. */
export function digestLike(digest: string, content: Uint8Array): string {
  const hasher = hasherLike(digest)
  hasher.update(content)
  return hasher.digest()
}

export const sha256 = (content: Uint8Array): string => digestLike('sha256:', content)
