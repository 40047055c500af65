// What the node's facts say to the rules of every service port.
import { shown } from '../graph/problem.ts'
import { parseAddress, type Address, type IPFamily } from '../net/address.ts'
import type { NodeFacts } from '../node/facts.ts'
import { localSource, type LocalSource } from '../node/local-traffic.ts'
import { masqueradeMark } from '../node/masquerade-mark.ts'
import { reservedWords } from './reserved-words.ts'

/** How policy chains spread connections: `compat` by a map in each, as the Go proxy; `fast` by a rule per endpoint where these are few. */
export type NftablesLayout = 'compat' | 'fast'

const layouts: readonly unknown[] = ['compat', 'fast'] satisfies NftablesLayout[]

/** The default is `fast`. @param field its name for the caller. @throws RangeError for what is no layout */
export function layoutOf(layout: NftablesLayout = 'fast', field = 'layout'): NftablesLayout {
  if (layouts.includes(layout)) return layout
  throw new RangeError(`${field}: ${shown(layout)} is none; use compat or fast`)
}

/** How rules of one family are written. */
export interface Style {
  family: IPFamily
  layout: NftablesLayout
  /** How nft spells the family. */
  ip: 'ip' | 'ip6'
  /** How nft spells the type of an address. */
  addressType: 'ipv4_addr' | 'ipv6_addr'
  /** The statement that asks for masquerading. */
  setMark: string
  /** The mark itself. */
  mark: string
  /** Matches for traffic that is, and is not, from pods of this node; undefined when it cannot be told. */
  local: { is: string; isNot: string } | undefined
  nodeIP: Address | undefined
}

/** An interface's name as long as this cannot be the beginning of a longer one. */
const longestName = 15
const bareWord = /^[A-Za-z][\w.-]*\*?$/

function localMatch(source: LocalSource | undefined, ip: string): Style['local'] {
  if (!source) return undefined
  if ('cidr' in source) return { is: `${ip} saddr ${source.cidr}`, isNot: `${ip} saddr != ${source.cidr}` }
  const pattern = source.isPrefix && source.name.length < longestName ? `${source.name}*` : source.name
  const isBare = bareWord.test(pattern) && !reservedWords.has(pattern)
  const name = isBare ? pattern : `"${pattern}"`
  return { is: `iifname ${name}`, isNot: `iifname != ${name}` }
}

/** @throws RangeError for malformed facts: mark bit, CIDRs, interface names. */
export function styleOf(facts: NodeFacts, family: IPFamily, layout: NftablesLayout): Style {
  const ip = family === 'IPv4' ? 'ip' : 'ip6'
  const mark = masqueradeMark(facts.masqueradeBit)
  return {
    family,
    layout,
    ip,
    addressType: family === 'IPv4' ? 'ipv4_addr' : 'ipv6_addr',
    setMark: `mark set mark or ${mark}`,
    mark,
    local: localMatch(localSource(facts.localTraffic, family), ip),
    nodeIP: parseAddress(facts.nodeIPs[family]),
  }
}
