// What no Service has a part in: the chains that are always there, and the rules that are in them anyway.
import type { IPFamily } from '../net/address.ts'
import type { NodeFacts } from '../node/facts.ts'
import { masqueradeMark } from '../node/masquerade-mark.ts'
import { nodePortAddresses, type NodePortAddresses } from '../node/node-port-addresses.ts'
import { firewallChain, localnetRule } from './localnet.ts'
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

/** @throws RangeError for a malformed mark bit or CIDR */
export function sharedPart(facts: NodeFacts, family: IPFamily): SharedPart {
  const mark = masqueradeMark(facts.masqueradeBit)
  const addresses = nodePortAddresses(facts, family)
  const { localhost } = addresses
  const fixed = ['KUBE-SERVICES', 'KUBE-EXTERNAL-SERVICES', 'KUBE-FORWARD', 'KUBE-NODEPORTS', 'KUBE-PROXY-FIREWALL']
  return {
    filter: {
      chains: localhost ? [...fixed, firewallChain] : fixed,
      first: [],
      last: [...(localhost ? [localnetRule] : []), ...forwardRules(facts, mark)],
    },
    nat: {
      chains: ['KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-POSTROUTING', 'KUBE-MARK-MASQ'],
      first: masqueradeRules(facts, mark),
      last: nodePortJumps(family, addresses),
    },
  }
}

const rule = (chain: string, ...args: readonly string[]): Rule => ({ chain, args })

function nodePortJumps(family: IPFamily, { all, addresses, localhost }: NodePortAddresses): Rule[] {
  const chain = 'KUBE-SERVICES'
  const jump = ['-j', 'KUBE-NODEPORTS']
  if (!all) return addresses.map((address) => rule(chain, ...comment(lastRule), '-d', address, ...jump))
  const not = family === 'IPv6' ? ['!', '-d', '::1/128'] : localhost ? [] : ['!', '-d', '127.0.0.0/8']
  return [rule(chain, ...comment(lastRule), '-m', 'addrtype', '--dst-type', 'LOCAL', ...not, ...jump)]
}

function forwardRules({ nfacct, conntrackLiberal }: NodeFacts, mark: string): Rule[] {
  const chain = 'KUBE-FORWARD'
  const count = nfacct ? ['-m', 'nfacct', '--nfacct-name', 'ct_state_invalid_dropped_pkts'] : []
  const marked = ['-m', 'mark', '--mark', `${mark}/${mark}`]
  const known = ['-m', 'conntrack', '--ctstate', 'RELATED,ESTABLISHED']
  return [
    ...(conntrackLiberal ? [] : [rule(chain, '-m', 'conntrack', '--ctstate', 'INVALID', ...count, '-j', 'DROP')]),
    rule(chain, ...comment('kubernetes forwarding rules'), ...marked, '-j', 'ACCEPT'),
    rule(chain, ...comment('kubernetes forwarding conntrack rule'), ...known, '-j', 'ACCEPT'),
  ]
}

function masqueradeRules({ randomFully }: NodeFacts, mark: string): Rule[] {
  const chain = 'KUBE-POSTROUTING'
  const random = randomFully ? ['--random-fully'] : []
  return [
    rule(chain, '-m', 'mark', '!', '--mark', `${mark}/${mark}`, '-j', 'RETURN'),
    rule(chain, '-j', 'MARK', '--xor-mark', mark),
    rule(chain, ...comment('kubernetes service traffic requiring SNAT'), '-j', 'MASQUERADE', ...random),
    rule('KUBE-MARK-MASQ', '-j', 'MARK', '--or-mark', mark),
  ]
}
