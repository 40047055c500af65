// What no Service has a part in: the chains that are always there, and the rules that are in them anyway.
import type { IPFamily } from '../net/address.ts'
import { checkFacts } from '../node/check-facts.ts'
import type { NodeFacts } from '../node/facts.ts'
import { masqueradeMark } from '../node/masquerade-mark.ts'
import { nodePortAddresses, type NodePortAddresses } from '../node/node-port-addresses.ts'
import { forwardRules, masqueradeRules, rule } from './fixed-rules.ts'
import { firewallChain, localnetRule } from './localnet.ts'
import { countedBy } from './packet-counters.ts'
import { comment, type Rule } from './program.ts'

const lastRule = 'kubernetes service nodeports; NOTE: this must be the last rule in this chain'

/** What a table has without any Service. */
export interface SharedTable {
  chains: readonly string[]
  /** Before and after those of all Services. */
  first: readonly Rule[]
  last: readonly Rule[]
}

export type SharedPart = Record<'filter' | 'nat', SharedTable>

/** @throws RangeError for malformed facts, which it names with their value */
export function sharedPart(facts: NodeFacts, family: IPFamily): SharedPart {
  checkFacts(facts)
  const mark = masqueradeMark(facts.masqueradeBit)
  const addresses = nodePortAddresses(facts, family)
  const { localhost } = addresses
  const fixed = ['KUBE-SERVICES', 'KUBE-EXTERNAL-SERVICES', 'KUBE-FORWARD', 'KUBE-NODEPORTS', 'KUBE-PROXY-FIREWALL']
  return {
    filter: {
      chains: localhost ? [...fixed, firewallChain] : fixed,
      first: [],
      last: [...(localhost ? [localnetRule] : []), ...invalidRules(facts), ...forwardRules(mark)],
    },
    nat: {
      chains: ['KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-POSTROUTING', 'KUBE-MARK-MASQ'],
      first: masqueradeRules(facts, mark),
      last: nodePortJumps(family, addresses),
    },
  }
}

function nodePortJumps(family: IPFamily, { all, addresses, localhost }: NodePortAddresses): Rule[] {
  const chain = 'KUBE-SERVICES'
  const jump = ['-j', 'KUBE-NODEPORTS']
  if (!all) return addresses.map((address) => rule(chain, ...comment(lastRule), '-d', address, ...jump))
  const not = family === 'IPv6' ? ['!', '-d', '::1/128'] : localhost ? [] : ['!', '-d', '127.0.0.0/8']
  return [rule(chain, ...comment(lastRule), '-m', 'addrtype', '--dst-type', 'LOCAL', ...not, ...jump)]
}

function invalidRules({ nfacct, conntrackLiberal }: NodeFacts): Rule[] {
  if (conntrackLiberal) return []
  const count = nfacct ? countedBy('invalidDropped') : []
  return [rule('KUBE-FORWARD', '-m', 'conntrack', '--ctstate', 'INVALID', ...count, '-j', 'DROP')]
}
