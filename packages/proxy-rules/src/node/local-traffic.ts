// Match arguments for traffic of this node's pods.
import { parseCidr, type IPFamily } from '../net/address.ts'
import type { LocalTraffic } from './facts.ts'

/** Match arguments for traffic that is, and is not, from pods of this node. */
export interface LocalMatch {
  local: readonly string[]
  notLocal: readonly string[]
}

const interfaceName = /^[\w.@:-]{1,15}$/

const byInterface = (name: string, wildcard: '' | '+'): LocalMatch => {
  if (!interfaceName.test(name) || name.startsWith('-'))
    throw new RangeError(`localTraffic: ${JSON.stringify(name)} is no interface name; name the pods' bridge or prefix`)
  return { local: ['-i', name + wildcard], notLocal: ['!', '-i', name + wildcard] }
}

/**
 * The matches for `family`, or undefined when there is no CIDR of it.
 *
 * @throws RangeError for a malformed CIDR or interface name.
 */
export function localMatch(traffic: LocalTraffic, family: IPFamily): LocalMatch | undefined {
  if (traffic.mode === 'BridgeInterface') return byInterface(traffic.interface, '')
  if (traffic.mode === 'InterfaceNamePrefix') return byInterface(traffic.prefix, '+')
  const cidrs = traffic.cidrs.map((text) => {
    const cidr = parseCidr(text)
    if (!cidr) throw new RangeError(`localTraffic: ${JSON.stringify(text)} is no CIDR; write it as 10.0.0.0/8`)
    return cidr
  })
  const cidr = cidrs.find((candidate) => candidate.family === family)
  return cidr && { local: ['-s', cidr.text], notLocal: ['!', '-s', cidr.text] }
}
