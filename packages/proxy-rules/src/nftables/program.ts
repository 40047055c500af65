// An nftables program as data: all that the table of one family holds.
import type { NodePart, Parts } from '../graph/parts.ts'
import type { IPFamily } from '../net/address.ts'
import type { NftablesLayout } from './style.ts'

/** Where the kernel enters a base chain. */
export interface Hook {
  type: 'filter' | 'nat'
  hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting'
  priority: number
}

/** A chain and its rules. */
export interface Chain {
  name: string
  /** Base chains only. */
  hook?: Hook
  comment?: string
  /** In nft's language, in their order. */
  rules: readonly string[]
}

/** A named set or map. */
export interface Container {
  kind: 'set' | 'map'
  name: string
  /** For instance `ipv4_addr . inet_proto . inet_service : verdict`. */
  type: string
  /** Rules add elements, which go after so many seconds; the elements are the kernel's and not part of the program. */
  timeoutSeconds?: number
  comment?: string
}

/** What a set or map holds. */
export interface Element {
  container: string
  key: string
  /** Maps only. */
  verdict?: string
  comment?: string
}

/** Objects that come and go together. */
export interface Part {
  chains: readonly Chain[]
  containers: readonly Container[]
  elements: readonly Element[]
}

/** The part of one service port. */
export interface ServicePart extends Part, NodePart {}

/** All that one family's table holds. */
export interface NftablesProgram extends Parts<ServicePart> {
  family: IPFamily
  layout: NftablesLayout
  /** What the node facts give to each service port, to tell whether parts can be used again. */
  style: string
  /** Base chains, shared chains, sets and maps. */
  shared: Part
}

const longestComment = 128
const forbidden = /["\\\p{Cc}]/u

/**
 * ` comment "…"`, cut to the 128 characters that nft takes.
 *
 * @throws RangeError when it holds quotes, backslashes or control characters, which nft cannot write.
 */
export function comment(text: string): string {
  if (forbidden.test(text))
    throw new RangeError(`nftables comment: ${JSON.stringify(text)} cannot be written; remove its quotes`)
  return ` comment "${text.slice(0, longestComment)}"`
}
