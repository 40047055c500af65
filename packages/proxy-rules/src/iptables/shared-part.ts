// What no Service has a part in: the chains that are always there, and the rules that are in them anyway.
import type { IPFamily } from '../net/address.ts'
import type { NodeFacts } from '../node/facts.ts'
import { masqueradeMark } from '../node/masquerade-mark.ts'
import { nodePortAddresses, type NodePortAddresses } from '../node/node-port-addresses.ts'
import { firewallChain, localnetRule } from './localnet.ts'
import { comment, TableBuilder } from './program.ts'

const lastRule = 'kubernetes service nodeports; NOTE: this must be the last rule in this chain'

/** The two tables, with the chains that are always there and the rules that come first. */
export function startTables(facts: NodeFacts, family: IPFamily): { filter: TableBuilder; nat: TableBuilder } {
  const { localhost } = nodePortAddresses(facts, family)
  const fixed = ['KUBE-SERVICES', 'KUBE-EXTERNAL-SERVICES', 'KUBE-FORWARD', 'KUBE-NODEPORTS', 'KUBE-PROXY-FIREWALL']
  const filter = new TableBuilder('filter', localhost ? [...fixed, firewallChain] : fixed)
  const nat = new TableBuilder('nat', ['KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-POSTROUTING', 'KUBE-MARK-MASQ'])
  addFixedNatRules(nat, facts, masqueradeMark(facts.masqueradeBit))
  return { filter, nat }
}

/** Adds the rules that come after those of all Services. */
export function endTables(
  { filter, nat }: { filter: TableBuilder; nat: TableBuilder },
  facts: NodeFacts,
  family: IPFamily,
): void {
  const addresses = nodePortAddresses(facts, family)
  addNodePortJump(nat, family, addresses)
  addFixedFilterRules(filter, facts, masqueradeMark(facts.masqueradeBit), addresses.localhost)
}

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
