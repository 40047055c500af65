// The service graph as an iptables program.
import type { ServiceGraph } from '../graph/service-graph.ts'
import type { IPFamily } from '../net/address.ts'
import type { NodeFacts } from '../node/facts.ts'
import { checkFacts } from '../node/check-facts.ts'
import { masqueradeMark } from '../node/masquerade-mark.ts'
import { nodePortAddresses, type NodePortAddresses } from '../node/node-port-addresses.ts'
import { firewallChain, localnetRule } from './localnet.ts'
import { comment, TableBuilder, type IptablesProgram } from './program.ts'
import { servicePrefixes } from './names.ts'
import { addEntrances } from './entrances.ts'
import { localMatch } from './local-match.ts'
import { addServiceChains, serviceChains } from './service-chains.ts'

/** What a compilation may leave out and has to clear away. */
export interface CompileOptions {
  /** `namespace/name` of the Services whose own chains are written; default: all. Shared chains are always whole. */
  changed?: ReadonlySet<string>
  /** Chains in the kernel's nat table; those of Services that nothing uses any more are deleted. Default: none. */
  existing?: Iterable<string>
}

const lastRule = 'kubernetes service nodeports; NOTE: this must be the last rule in this chain'
const largeCluster = 1000

function addNodePortJump(nat: TableBuilder, family: IPFamily, { all, addresses, localhost }: NodePortAddresses): void {
  const chain = 'KUBE-SERVICES'
  const jump = ['-j', 'KUBE-NODEPORTS']
  for (const address of addresses) nat.add(chain, ...comment(lastRule), '-d', address, ...jump)
  if (!all) return
  const not = family === 'IPv6' ? ['!', '-d', '::1/128'] : localhost ? [] : ['!', '-d', '127.0.0.0/8']
  nat.add(chain, ...comment(lastRule), '-m', 'addrtype', '--dst-type', 'LOCAL', ...not, ...jump)
}

function addFixedFilterRules(filter: TableBuilder, facts: NodeFacts, mark: string, localhost: boolean): void {
  if (localhost) filter.add(localnetRule.chain, ...localnetRule.args)
  const forward = 'KUBE-FORWARD'
  const count = facts.nfacct ? ['-m', 'nfacct', '--nfacct-name', 'ct_state_invalid_dropped_pkts'] : []
  if (!facts.conntrackLiberal) filter.add(forward, '-m', 'conntrack', '--ctstate', 'INVALID', ...count, '-j', 'DROP')
  const marked = ['-m', 'mark', '--mark', `${mark}/${mark}`]
  filter.add(forward, ...comment('kubernetes forwarding rules'), ...marked, '-j', 'ACCEPT')
  const known = ['-m', 'conntrack', '--ctstate', 'RELATED,ESTABLISHED']
  filter.add(forward, ...comment('kubernetes forwarding conntrack rule'), ...known, '-j', 'ACCEPT')
}

function addFixedNatRules(nat: TableBuilder, facts: NodeFacts, mark: string): void {
  const post = 'KUBE-POSTROUTING'
  nat.add(post, '-m', 'mark', '!', '--mark', `${mark}/${mark}`, '-j', 'RETURN')
  nat.add(post, '-j', 'MARK', '--xor-mark', mark)
  const random = facts.randomFully ? ['--random-fully'] : []
  nat.add(post, ...comment('kubernetes service traffic requiring SNAT'), '-j', 'MASQUERADE', ...random)
  nat.add('KUBE-MARK-MASQ', '-j', 'MARK', '--or-mark', mark)
}

/**
 * Compiles `graph` for a node. Pure, and the same input gives the same program.
 *
 * @throws RangeError for malformed facts, which it names with their value.
 */
export function compileIptables(graph: ServiceGraph, facts: NodeFacts, options: CompileOptions = {}): IptablesProgram {
  checkFacts(facts)
  const { family, nodes } = graph
  const mark = masqueradeMark(facts.masqueradeBit)
  const local = localMatch(facts.localTraffic, family)
  const nodePorts = nodePortAddresses(facts, family)
  const fixed = ['KUBE-SERVICES', 'KUBE-EXTERNAL-SERVICES', 'KUBE-FORWARD', 'KUBE-NODEPORTS', 'KUBE-PROXY-FIREWALL']
  const filter = new TableBuilder('filter', nodePorts.localhost ? [...fixed, firewallChain] : fixed)
  const nat = new TableBuilder('nat', ['KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-POSTROUTING', 'KUBE-MARK-MASQ'])
  addFixedNatRules(nat, facts, mark)
  const comments = nodes.reduce((sum, { endpoints }) => sum + endpoints.length, 0) <= largeCluster
  const active = new Set<string>()
  for (const { port, choice } of nodes) {
    const chains = serviceChains(port, choice)
    const countLocalhost = nodePorts.localhost && facts.nfacct
    addEntrances({ filter, nat }, chains, { countLocalhost })
    for (const chain of chains.names) active.add(chain)
    if (options.changed && !options.changed.has(`${port.namespace}/${port.service}`)) continue
    addServiceChains(nat, chains, {
      comments,
      local,
      masqueradeAll: facts.masqueradeAll,
      nodeIP: facts.nodeIPs[family],
    })
  }
  const ours = (chain: string): boolean => servicePrefixes.some((prefix) => chain.startsWith(prefix))
  const stale = [...new Set(options.existing)].filter((chain) => ours(chain) && !active.has(chain)).sort()
  addNodePortJump(nat, family, nodePorts)
  addFixedFilterRules(filter, facts, mark, nodePorts.localhost)
  return { family, tables: [filter.build([]), nat.build(stale)] }
}
