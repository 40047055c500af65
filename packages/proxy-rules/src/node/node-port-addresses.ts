// The node addresses on which node ports answer.
import { cidrContains, isLoopback, parseAddress, parseCidr, type Cidr, type IPFamily } from '../net/address.ts'
import type { NodeFacts } from './facts.ts'

/** Where node ports of one family answer. */
export interface NodePortAddresses {
  /** On every local address; `addresses` is then empty. */
  all: boolean
  addresses: readonly string[]
  /** On 127.0.0.0/8 too. */
  localhost: boolean
}

const localhost = { family: 'IPv4', value: 0x7f000001n, text: '127.0.0.1' } as const
const hostPrefix = { IPv4: 32, IPv6: 128 } as const

function configured({ nodePortAddresses, nodeIPs }: NodeFacts): Cidr[] {
  const primary = nodePortAddresses.length === 1 && nodePortAddresses[0] === 'primary'
  if (primary) {
    const own = (['IPv4', 'IPv6'] as const).map((family) => parseAddress(nodeIPs[family]))
    const usable = own.filter((address) => address !== undefined).filter((address) => !isLoopback(address))
    return usable.map(({ family, value, text }) => {
      const prefix = hostPrefix[family]
      return { family, prefix, first: value, text: `${text}/${prefix}` }
    })
  }
  return nodePortAddresses.map((text) => {
    const cidr = parseCidr(text)
    if (cidr) return cidr
    throw new RangeError(`nodePortAddresses: ${JSON.stringify(text)} is no CIDR; write CIDRs or only primary`)
  })
}

/**
 * Selects among the interfaces' addresses, in their order.
 *
 * @param withLoopback those of loopback too, where no node port answers: health checks do
 * @throws RangeError for a malformed entry of `nodePortAddresses`.
 */
export function nodePortAddresses(facts: NodeFacts, family: IPFamily, withLoopback = false): NodePortAddresses {
  const ranges = configured(facts).filter((cidr) => cidr.family === family)
  const all = ranges.length === 0 || ranges.some(({ prefix }) => prefix === 0)
  const loopback = (cidr: Cidr): boolean =>
    cidrContains(cidr, localhost) || isLoopback({ family, value: cidr.first, text: cidr.text })
  const hasLoopback = all || ranges.some(loopback)
  const useLocalhost = family === 'IPv4' && facts.localhostNodePorts && hasLoopback
  const own = Object.values(facts.interfaces)
    .flat()
    .map((text) => parseAddress(text.split('/')[0]))
    .filter((address) => address !== undefined)
    .filter((address) => ranges.some((cidr) => cidrContains(cidr, address)))
    .filter((address) => withLoopback || useLocalhost || !isLoopback(address))
  const addresses = all ? [] : [...new Set(own.map(({ text }) => text))]
  return { all, addresses, localhost: useLocalhost }
}
