// What the table holds whatever the Services are: base chains, the chains that they jump to, sets and maps.
import { parseCidr } from '../net/address.ts'
import type { NodeFacts } from '../node/facts.ts'
import { nodePortAddresses, type NodePortAddresses } from '../node/node-port-addresses.ts'
import { comment, type Chain, type Container, type Hook, type Part } from './program.ts'
import type { Style } from './style.ts'

/** Before destination NAT, where packets still have the destination that their sender gave. */
const beforeNat = -110
const destinationNat = -100
const sourceNat = 100

function baseChains(): Chain[] {
  const chain = (name: string, type: Hook['type'], hook: Hook['hook'], priority: number, rules: string[]): Chain => ({
    name,
    hook: { type, hook, priority },
    rules,
  })
  const fresh = (...targets: string[]): string[] => targets.map((target) => `ct state new jump ${target}`)
  const services = 'service-endpoints-check'
  return [
    chain('filter-prerouting-pre-dnat', 'filter', 'prerouting', beforeNat, fresh('firewall-check')),
    chain('filter-output-pre-dnat', 'filter', 'output', beforeNat, fresh('firewall-check')),
    chain('filter-input', 'filter', 'input', 0, fresh('nodeport-endpoints-check', services)),
    chain('filter-forward', 'filter', 'forward', 0, fresh(services, 'cluster-ips-check')),
    chain('filter-output', 'filter', 'output', 0, fresh(services, 'cluster-ips-check')),
    chain('nat-prerouting', 'nat', 'prerouting', destinationNat, ['jump services']),
    chain('nat-output', 'nat', 'output', destinationNat, ['jump services']),
    chain('nat-postrouting', 'nat', 'postrouting', sourceNat, ['jump masquerading']),
  ]
}

function containers({ addressType }: Style, { all }: NodePortAddresses): Container[] {
  const set = (name: string, type: string, text: string): Container => ({ kind: 'set', name, type, comment: text })
  const map = (name: string, type: string, text: string): Container => ({
    kind: 'map',
    name,
    type: `${type} : verdict`,
    comment: text,
  })
  const port = 'inet_proto . inet_service'
  const front = `${addressType} . ${port}`
  const refused = (what: string): string => `vmap to drop or reject packets to ${what} with no endpoints`
  return [
    set('cluster-ips', addressType, 'Active ClusterIPs'),
    ...(all ? [] : [set('nodeport-ips', addressType, 'IPs that accept NodePort traffic')]),
    set('hairpin-connections', `${addressType} . ${front}`, 'service hairpin connections'),
    map('service-ips', front, 'ClusterIP, ExternalIP and LoadBalancer IP traffic'),
    map('service-nodeports', port, 'NodePort traffic'),
    map('firewall-ips', front, 'destinations that are subject to LoadBalancerSourceRanges'),
    map('no-endpoint-services', front, refused('services')),
    map('no-endpoint-nodeports', port, refused('service nodeports')),
  ]
}

/** How packets to node ports are told: where they are translated, and where those without endpoints are refused. */
function nodePortMatches({ ip, family }: Style, { all }: NodePortAddresses): { translate: string; refuse: string } {
  const onSelected = `${ip} daddr @nodeport-ips`
  const notLoopback = `${ip} daddr != ${family === 'IPv4' ? '127.0.0.0/8' : '::1'}`
  return all
    ? { translate: `fib daddr type local ${notLoopback}`, refuse: notLoopback }
    : { translate: onSelected, refuse: onSelected }
}

function masqueradeClusterIPs({ ip, local, setMark }: Style, masqueradeAll: boolean): string[] {
  const toClusterIP = `${ip} daddr @cluster-ips`
  if (masqueradeAll) return [`${toClusterIP} ${setMark}${comment('masquerade all clusterIP traffic')}`]
  if (!local) return []
  const note = comment('masquerade clusterIP traffic from outside cluster')
  return [`${toClusterIP} ${local.isNot} ${setMark}${note}`]
}

function serviceRanges({ serviceCIDRs = [] }: NodeFacts, { family }: Style): string[] {
  const ranges = serviceCIDRs.map((text) => {
    const range = parseCidr(text)
    if (!range) throw new RangeError(`serviceCIDRs: ${JSON.stringify(text)} is no CIDR; write it as 10.96.0.0/12`)
    return range
  })
  return ranges.filter((range) => range.family === family).map(({ text }) => text)
}

function jumpedChains(style: Style, facts: NodeFacts, nodePorts: NodePortAddresses): Chain[] {
  const { ip, mark } = style
  const port = 'meta l4proto . th dport'
  const front = `${ip} daddr . ${port}`
  const nodePort = nodePortMatches(style, nodePorts)
  const ranges = serviceRanges(facts, style)
  const unallocated = `${ip} daddr { ${ranges.join(',')} } drop${comment('Drop traffic to unallocated ClusterIPs')}`
  return [
    {
      name: 'services',
      rules: [
        ...masqueradeClusterIPs(style, facts.masqueradeAll),
        `${front} vmap @service-ips`,
        `${nodePort.translate} ${port} vmap @service-nodeports`,
      ],
    },
    {
      name: 'masquerading',
      rules: [
        `mark and ${mark} != 0 mark set mark xor ${mark} masquerade fully-random`,
        `ct status dnat ${ip} saddr . ${front} @hairpin-connections masquerade fully-random`,
      ],
    },
    { name: 'service-endpoints-check', rules: [`${front} vmap @no-endpoint-services`] },
    { name: 'nodeport-endpoints-check', rules: [`${nodePort.refuse} ${port} vmap @no-endpoint-nodeports`] },
    {
      name: 'reject-chain',
      comment: 'helper for @no-endpoint-services / @no-endpoint-nodeports',
      rules: ['reject'],
    },
    { name: 'firewall-check', rules: [`${front} vmap @firewall-ips`] },
    {
      name: 'cluster-ips-check',
      rules: [
        `${ip} daddr @cluster-ips reject${comment('Reject traffic to invalid ports of ClusterIPs')}`,
        ...(ranges.length > 0 ? [unallocated] : []),
      ],
    },
  ]
}

/** @throws RangeError for malformed `nodePortAddresses` and `serviceCIDRs`. */
export function sharedPart(facts: NodeFacts, style: Style): Part {
  const selection = facts.nodePortAddresses.length > 0 ? facts.nodePortAddresses : ['primary']
  const nodePorts = nodePortAddresses(
    { ...facts, localhostNodePorts: false, nodePortAddresses: selection },
    style.family,
  )
  return {
    chains: [...baseChains(), ...jumpedChains(style, facts, nodePorts)],
    containers: containers(style, nodePorts),
    elements: nodePorts.addresses.map((key) => ({ container: 'nodeport-ips', key })),
  }
}
