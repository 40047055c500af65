// What browsers have of their own makes one wait for each hash. Some five times slower than `sha256.ts`.
import { sha256 as hash } from '@noble/hashes/sha2.js'
import { utf8ToBytes } from '@noble/hashes/utils.js'

export const sha256 = (text: string): Uint8Array => hash(utf8ToBytes(text))
