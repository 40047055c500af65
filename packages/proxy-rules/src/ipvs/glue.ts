// The rules of iptables around IPVS: what is marked, accepted, restricted and refused by the IP sets.
import { comment, TableBuilder, type IptablesProgram, type Rule } from '../iptables/program.ts'
import { localMatch } from '../iptables/local-match.ts'
import { forwardRules, masqueradeRules } from '../iptables/fixed-rules.ts'
import type { IPFamily } from '../net/address.ts'
import type { NodeFacts } from '../node/facts.ts'
import { masqueradeMark } from '../node/masquerade-mark.ts'
import { setName, type SetKey } from './sets.ts'

/** All chains of the glue, by table. */
export const glueChains: Readonly<Record<'nat' | 'filter', readonly string[]>> = {
  nat: ['KUBE-SERVICES', 'KUBE-POSTROUTING', 'KUBE-MARK-MASQ', 'KUBE-LOAD-BALANCER', 'KUBE-NODE-PORT'],
  filter: [
    'KUBE-FORWARD',
    'KUBE-NODE-PORT',
    'KUBE-PROXY-FIREWALL',
    'KUBE-SOURCE-RANGES-FIREWALL',
    'KUBE-IPVS-FILTER',
    'KUBE-IPVS-OUT-FILTER',
  ],
}

/** What the glue is made of. */
export interface GlueInput {
  family: IPFamily
  facts: NodeFacts
  /** The names of the sets that have entries: rules for others are left out. */
  occupied: ReadonlyMap<string, number>
  /** Of the parts. */
  rules: readonly Rule[]
}

interface Writer extends GlueInput {
  nat: TableBuilder
  filter: TableBuilder
}

/** A rule for what a set holds. */
interface SetRule {
  table: 'nat' | 'filter'
  set: SetKey
  chain: string
  target: string
  /** What of a packet stands against the dimensions of the set. */
  match: string
  protocol?: string
  note: string
}

const whole = 'dst,dst'
const withSource = 'dst,dst,src'
const balancer = 'Kubernetes service load balancer ip + port'

function nodePortRules(protocol: string, match: string, suffix: string, kind: string): SetRule[] {
  const upper = protocol.toUpperCase()
  const rule = (set: string, target: string, purpose: string): SetRule => ({
    table: 'nat',
    set: `${set}-${upper}${suffix}` as SetKey,
    chain: 'KUBE-NODE-PORT',
    target,
    match,
    protocol,
    note: `Kubernetes nodeport ${upper} port ${purpose}${kind}`,
  })
  return [
    rule('NODE-PORT-LOCAL', 'RETURN', 'with externalTrafficPolicy=local'),
    rule('NODE-PORT', 'KUBE-MARK-MASQ', 'for masquerade purpose'),
  ]
}

/** The rules that stand only while their sets have entries, in the order in which they are written. */
const setRules: readonly SetRule[] = [
  {
    table: 'nat',
    set: 'LOOP-BACK',
    chain: 'KUBE-POSTROUTING',
    target: 'MASQUERADE',
    match: withSource,
    note: 'Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose',
  },
  {
    table: 'nat',
    set: 'LOAD-BALANCER',
    chain: 'KUBE-SERVICES',
    target: 'KUBE-LOAD-BALANCER',
    match: whole,
    note: 'Kubernetes service lb portal',
  },
  {
    table: 'nat',
    set: 'LOAD-BALANCER-LOCAL',
    chain: 'KUBE-LOAD-BALANCER',
    target: 'RETURN',
    match: whole,
    note: `${balancer} with externalTrafficPolicy=local`,
  },
  ...nodePortRules('tcp', 'dst', '', ''),
  ...nodePortRules('udp', 'dst', '', ''),
  ...nodePortRules('sctp', whole, '-HASH', " with type 'hash ip:port'"),
  {
    table: 'filter',
    set: 'LOAD-BALANCER-FW',
    chain: 'KUBE-PROXY-FIREWALL',
    target: 'KUBE-SOURCE-RANGES-FIREWALL',
    match: whole,
    note: `${balancer} for load balancer with sourceRange`,
  },
  {
    table: 'filter',
    set: 'LOAD-BALANCER-SOURCE-CIDR',
    chain: 'KUBE-SOURCE-RANGES-FIREWALL',
    target: 'RETURN',
    match: withSource,
    note: `${balancer} + source cidr for packet filter purpose`,
  },
  {
    table: 'filter',
    set: 'LOAD-BALANCER-SOURCE-IP',
    chain: 'KUBE-SOURCE-RANGES-FIREWALL',
    target: 'RETURN',
    match: withSource,
    note: `${balancer} + source IP for packet filter purpose`,
  },
]

/**
 * Makes the glue.
 *
 * @throws RangeError for malformed facts: mark bit, CIDRs, interface names
 */
export function glueProgram(input: GlueInput): IptablesProgram {
  const { family, facts } = input
  const nat = new TableBuilder('nat', glueChains.nat)
  const filter = new TableBuilder('filter', glueChains.filter)
  const to: Writer = { ...input, nat, filter }
  const mark = masqueradeMark(facts.masqueradeBit)
  nat.add('KUBE-SERVICES', '-s', family === 'IPv4' ? '127.0.0.0/8' : '::1/128', '-j', 'RETURN')
  for (const rule of setRules) addSetRule(to, rule)
  addClusterIPs(to)
  addExternalIPs(to)
  nat.add('KUBE-SERVICES', '-m', 'addrtype', '--dst-type', 'LOCAL', '-j', 'KUBE-NODE-PORT')
  for (const key of ['CLUSTER-IP', 'LOAD-BALANCER'] as const)
    if (has(to, key)) nat.add('KUBE-SERVICES', ...inSet(to, key, whole), '-j', 'ACCEPT')
  nat.add('KUBE-LOAD-BALANCER', '-j', 'KUBE-MARK-MASQ')
  nat.addAll(masqueradeRules(facts, mark))
  filter.add('KUBE-SOURCE-RANGES-FIREWALL', '-j', 'DROP')
  filter.addAll(forwardRules(mark))
  const health = comment('Kubernetes health check node port')
  filter.add('KUBE-NODE-PORT', ...health, ...inSet(to, 'HEALTH-CHECK-NODE-PORT', 'dst'), '-j', 'ACCEPT')
  addAccessFilter(to)
  return { family, tables: [nat.build([]), filter.build([])] }
}

const has = ({ family, occupied }: Writer, key: SetKey): boolean => occupied.has(setName(key, family))
const inSet = ({ family }: Writer, key: SetKey, match: string): string[] => [
  '-m',
  'set',
  '--match-set',
  setName(key, family),
  match,
]

function addSetRule(to: Writer, { table, set, chain, target, match, protocol, note }: SetRule): void {
  if (!has(to, set)) return
  const ofProtocol = protocol === undefined ? [] : ['-p', protocol]
  to[table].add(chain, ...ofProtocol, ...comment(note), ...inSet(to, set, match), '-j', target)
}

function addClusterIPs(to: Writer): void {
  if (!has(to, 'CLUSTER-IP')) return
  const { facts, family, nat } = to
  const local = localMatch(facts.localTraffic, family)
  // When nothing tells pods from others: what the node sends to itself has a cluster IP as its source.
  const match = facts.masqueradeAll || local ? whole : 'src,dst'
  const notLocal = facts.masqueradeAll ? [] : (local?.notLocal ?? [])
  const note = comment('Kubernetes service cluster ip + port for masquerade purpose')
  nat.add('KUBE-SERVICES', ...note, ...inSet(to, 'CLUSTER-IP', match), ...notLocal, '-j', 'KUBE-MARK-MASQ')
}

function addExternalIPs(to: Writer): void {
  const { nat } = to
  const chain = 'KUBE-SERVICES'
  const accept = (match: readonly string[]): void => {
    // From outside: neither by a bridge nor from the node itself.
    const fromOutside = ['-m', 'physdev', '!', '--physdev-is-in', '-m', 'addrtype', '!', '--src-type', 'LOCAL']
    nat.add(chain, ...match, ...fromOutside, '-j', 'ACCEPT')
    nat.add(chain, ...match, '-m', 'addrtype', '--dst-type', 'LOCAL', '-j', 'ACCEPT')
  }
  if (has(to, 'EXTERNAL-IP')) {
    const note = comment('Kubernetes service external ip + port for masquerade and filter purpose')
    const match = [...note, ...inSet(to, 'EXTERNAL-IP', whole)]
    nat.add(chain, ...match, '-j', 'KUBE-MARK-MASQ')
    accept(match)
  }
  if (has(to, 'EXTERNAL-IP-LOCAL')) {
    const note = comment('Kubernetes service external ip + port with externalTrafficPolicy=local')
    accept([...note, ...inSet(to, 'EXTERNAL-IP-LOCAL', whole)])
  }
}

/** Addresses of Services are the node's: what else it listens to there must not be reached. */
function addAccessFilter(to: Writer): void {
  const { filter, rules } = to
  const chain = 'KUBE-IPVS-FILTER'
  for (const key of ['LOAD-BALANCER', 'CLUSTER-IP', 'EXTERNAL-IP', 'EXTERNAL-IP-LOCAL'] as const)
    filter.add(chain, ...inSet(to, key, whole), '-j', 'RETURN')
  filter.add(chain, ...inSet(to, 'HEALTH-CHECK-NODE-PORT', 'dst'), '-j', 'RETURN')
  const fresh = ['-m', 'conntrack', '--ctstate', 'NEW']
  filter.add(chain, ...fresh, ...inSet(to, 'IPVS-IPS', 'dst'), '-j', 'REJECT')
  for (const { chain: own, args } of rules) filter.add(own, ...args)
}
