// The chains of one service port: policies, firewall, endpoints.
import type { Endpoint } from '../graph/endpoint.ts'
import type { ServicePort } from '../graph/service-port.ts'
import { cidrContains, parseCidr } from '../net/address.ts'
import type { NftablesNames } from './names.ts'
import { comment, type Chain, type Container } from './program.ts'
import type { Style } from './style.ts'

const protocolMatch = ({ protocol }: ServicePort): string => `meta l4proto ${protocol.toLowerCase()}`

/** Each of `targets` with the same probability, all in one rule. */
const byMap = (kind: 'map' | 'vmap', targets: readonly string[]): string =>
  `numgen random mod ${targets.length} ${kind} { ${targets.map((target, index) => `${index} : ${target}`).join(' , ')} }`

/**
 * Each of `verdicts` with the same probability, a rule for each: the first of n has one chance in n, the last is left over. They are kept
 * in memory, and so joined: a template would keep its parts, too, in three times the memory.
 */
const byRules = (before: string, verdicts: readonly string[]): string[] =>
  verdicts.map((verdict, index) => {
    const left = verdicts.length - index
    return (left > 1 ? [before, 'numgen random mod ', left, ' 0 ', verdict] : [before, verdict]).join('')
  })

/**
 * The layout `fast` writes a map only for more endpoints than this. To load a rule for each endpoint takes 30 µs of nft's time; to
 * load a map takes 100 µs, and as much again for each thousand of maps that the table has. So 1,000 Services load sooner as maps
 * from 8 endpoints on, 4,000 from 17 on. No connection can feel the difference below a hundred endpoints.
 */
const mostRules = 16

/** A chain that translates to one of `endpoints`. */
export function policyChain(
  name: string,
  port: ServicePort,
  endpoints: readonly Endpoint[],
  names: NftablesNames,
  { ip, layout }: Style,
): Chain {
  const withRules = layout === 'fast' && endpoints.length <= mostRules
  if (port.affinitySeconds > 0) {
    const targets = endpoints.map((endpoint) => names.endpoint(endpoint))
    const known = targets.map(({ chain, affinity }) => `${ip} saddr @${affinity} goto ${chain}`)
    const gotos = targets.map(({ chain }) => `goto ${chain}`)
    return { name, rules: [...known, ...(withRules ? byRules('', gotos) : [byMap('vmap', gotos)])] }
  }
  const match = `${protocolMatch(port)} `
  if (withRules) {
    const translations = endpoints.map(({ text }) => `dnat to ${text}`)
    return { name, rules: byRules(match, translations) }
  }
  const targets = endpoints.map((endpoint) => `${endpoint.address} . ${endpoint.port}`)
  return { name, rules: [`${match}dnat ${ip} addr . port to ${byMap('map', targets)}`] }
}

/** The chain and the set of an endpoint that remembers its clients. */
export function endpointChain(
  port: ServicePort,
  endpoint: Endpoint,
  names: NftablesNames,
  { ip, addressType }: Style,
): { chain: Chain; affinity: Container } {
  const { chain, affinity } = names.endpoint(endpoint)
  const rules = [`update @${affinity} { ${ip} saddr }`, `${protocolMatch(port)} dnat to ${endpoint.text}`]
  return {
    chain: { name: chain, rules },
    affinity: { kind: 'set', name: affinity, type: addressType, timeoutSeconds: port.affinitySeconds },
  }
}

/** What traffic from outside goes through; `hasLocal` says whether there are endpoints on this node. */
export function externalChain(port: ServicePort, names: NftablesNames, hasLocal: boolean, style: Style): Chain {
  const { setMark, local } = style
  const toAll = `goto ${names.cluster}`
  if (!port.externalPolicyLocal) return { name: names.external, rules: [`${setMark}${comment('masquerade')}`, toAll] }
  const fromNode = 'fib saddr type local'
  return {
    name: names.external,
    rules: [
      ...(local ? [`${local.is} ${toAll}${comment('short-circuit pod traffic')}`] : []),
      `${fromNode} ${setMark}${comment('masquerade local traffic')}`,
      `${fromNode} ${toAll}${comment('short-circuit local traffic')}`,
      ...(hasLocal ? [`goto ${names.local}`] : []),
    ],
  }
}

/** Drops what comes from outside the source ranges. A node within them reaches the VIPs with these as its source. */
export function firewallChain(port: ServicePort, names: NftablesNames, { ip, nodeIP }: Style): Chain {
  const ranges = port.sourceRanges.map(parseCidr).filter((range) => range !== undefined)
  const isNodeIn = nodeIP !== undefined && ranges.some((range) => cidrContains(range, nodeIP))
  // As they were given: nft takes ranges that overlap or occur twice.
  const sources = [...port.sourceRanges, ...(isNodeIn ? port.loadBalancerVIPs : [])]
  return { name: names.firewall, rules: [`${ip} saddr != { ${sources.join(' , ')} } drop`] }
}
