// Match arguments for traffic of this node's pods.
import type { IPFamily } from '../net/address.ts'
import type { LocalTraffic } from '../node/facts.ts'
import { localSource } from '../node/local-traffic.ts'

/** Match arguments for traffic that is, and is not, from pods of this node. */
export interface LocalMatch {
  local: readonly string[]
  notLocal: readonly string[]
}

/**
 * The matches for `family`, or undefined when there is no CIDR of it.
 *
 * @throws RangeError for a malformed CIDR or interface name.
 */
export function localMatch(traffic: LocalTraffic, family: IPFamily): LocalMatch | undefined {
  const source = localSource(traffic, family)
  if (!source) return undefined
  const local = 'cidr' in source ? ['-s', source.cidr] : ['-i', source.name + (source.isPrefix ? '+' : '')]
  return { local, notLocal: ['!', ...local] }
}
