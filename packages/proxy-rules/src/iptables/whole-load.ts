// All rules, made together with the ruleset that they are.
import type { ServiceGraph } from '../graph/service-graph.ts'
import type { NodeFacts } from '../node/facts.ts'
import { eachInTurn, type Steps } from '../slices.ts'
import { TextChunks } from '../text-chunks.ts'
import { ChainGroups, type ChainGroup, type Load, type TableLoad } from './load.ts'
import { isServiceChain } from './names.ts'
import type { Rule } from './program.ts'
import { rulesetInTurn, type IptablesRuleset } from './ruleset.ts'
import { textsByChain } from './service-part.ts'
import { sharedPart } from './shared-part.ts'
import { ruleText } from './text.ts'

/** What is loaded where it is not known yet what is there. */
export interface WholeLoad {
  ruleset: IptablesRuleset
  filter: TableLoad
  nat: TableLoad
  groups: readonly ChainGroup[]
}

/** What is there already. */
export interface Present {
  /** Chains of the table nat; those of service ports that nothing uses any more are deleted. */
  natChains: Iterable<string>
  /** Rules to be put at the head of chains of a table, one after the other: the last one ends up first. */
  insertions: Record<'filter' | 'nat', readonly Rule[]>
}

/** Every service chain leads there. */
const markChain = 'KUBE-MARK-MASQ'

/**
 * @param most chains of service ports in a group
 * @throws RangeError for malformed facts: mark bit, CIDRs, interface names
 */
export function* wholeLoadInTurn(graph: ServiceGraph, facts: NodeFacts, most: number): Steps<WholeLoad> {
  const shared = sharedPart(facts, graph.family)
  const lines = { filter: new TextChunks(), nat: new TextChunks() }
  const counts = { filter: 0, nat: 0 }
  const add = (table: 'filter' | 'nat', rules: readonly Rule[]): void => {
    for (const rule of rules) lines[table].add(`-A ${ruleText(rule)}`)
    counts[table] += rules.length
  }
  const isMark = ({ chain }: Rule): boolean => chain === markChain
  const groups = new ChainGroups(most)
  groups.add(textsByChain(shared.nat.first.filter(isMark)))
  groups.cut()
  add(
    'nat',
    shared.nat.first.filter((rule) => !isMark(rule)),
  )
  const ruleset = yield* rulesetInTurn(graph, facts, {}, ({ filter, nat, chains, rules }) => {
    add('filter', filter)
    add('nat', nat)
    groups.add(textsByChain(rules, chains))
  })
  add('nat', shared.nat.last)
  add('filter', shared.filter.last)
  return {
    ruleset,
    filter: { chains: shared.filter.chains, lines: lines.filter.end(), count: counts.filter },
    nat: {
      chains: shared.nat.chains.filter((chain) => chain !== markChain),
      lines: lines.nat.end(),
      count: counts.nat,
    },
    groups: groups.end(),
  }
}

/** The load for tables in which something is already. */
export function* completeLoadInTurn(
  { filter, nat, groups }: WholeLoad,
  { natChains, insertions }: Present,
): Steps<Load> {
  const wanted = new Set<string>()
  for (const { chains } of groups) yield* eachInTurn(chains, (chain) => wanted.add(chain))
  const stale: string[] = []
  yield* eachInTurn(natChains, (chain) => {
    if (isServiceChain(chain) && !wanted.has(chain)) stale.push(chain)
  })
  const withJumps = (load: TableLoad, jumps: readonly Rule[]): TableLoad => ({
    ...load,
    lines: [...load.lines, ...jumps.map((rule) => `-I ${ruleText(rule)}\n`)],
  })
  return { filter: withJumps(filter, insertions.filter), nat: withJumps(nat, insertions.nat), groups, stale }
}
