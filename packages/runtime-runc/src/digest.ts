// Names of content: an algorithm and what it makes of the bytes. @see OCI image-spec, descriptor
import { createHash } from 'node:crypto'
import type { Hash } from 'node:crypto'

export const algorithms: readonly string[] = ['sha256', 'sha384', 'sha512']

/** What is taken for a digest; image-spec registers sha256 and sha512, registries know sha384, too. */
export const digestPattern: RegExp = /^(?:sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128})$/

export const digestRule = 'sha256: and 64 hex digits, sha384: and 96 or sha512: and 128'

/** Of a digest, for instance `sha256`. */
export const algorithmOf = (digest: string): string => digest.slice(0, digest.indexOf(':'))

/** Of a digest, without its algorithm. */
export const hexOf = (digest: string): string => digest.slice(digest.indexOf(':') + 1)

/** A hash that ends in something to compare with `digest`. */
export const hashLike = (digest: string): Hash => createHash(algorithmOf(digest))

/** The digest of what a hash was given, by the algorithm of another. */
export const endOf = (hash: Hash, digest: string): string => `${algorithmOf(digest)}:${hash.digest('hex')}`

/** The digest of content by the algorithm of another digest. */
export const digestLike = (digest: string, content: Uint8Array): string =>
  endOf(hashLike(digest).update(content), digest)

export const sha256 = (content: Uint8Array): string => digestLike('sha256:', content)
