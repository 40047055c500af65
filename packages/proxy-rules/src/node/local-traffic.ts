// How traffic of this node's pods is told from other traffic, checked.
import { parseCidr, type IPFamily } from '../net/address.ts'
import type { LocalTraffic } from './facts.ts'

/** By source range, or by the interface that packets come in by: its name, or the beginning of it. */
export type LocalSource = { cidr: string } | { name: string; isPrefix: boolean }

const interfaceName = /^[\w.@:-]{1,15}$/

function byInterface(name: string, isPrefix: boolean): LocalSource {
  if (!interfaceName.test(name) || name.startsWith('-'))
    throw new RangeError(`localTraffic: ${JSON.stringify(name)} is no interface name; name the pods' bridge or prefix`)
  return { name, isPrefix }
}

/**
 * What counts for `family`, or undefined when there is no CIDR of it.
 *
 * @throws RangeError for a malformed CIDR or interface name.
 */
export function localSource(traffic: LocalTraffic, family: IPFamily): LocalSource | undefined {
  if (traffic.mode === 'BridgeInterface') return byInterface(traffic.interface, false)
  if (traffic.mode === 'InterfaceNamePrefix') return byInterface(traffic.prefix, true)
  const cidrs = traffic.cidrs.map((text) => {
    const cidr = parseCidr(text)
    if (!cidr) throw new RangeError(`localTraffic: ${JSON.stringify(text)} is no CIDR; write it as 10.0.0.0/8`)
    return cidr
  })
  const cidr = cidrs.find((candidate) => candidate.family === family)
  return cidr && { cidr: cidr.text }
}
