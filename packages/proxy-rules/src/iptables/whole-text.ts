// The text that loads all rules, made together with the ruleset that they are.
import type { ServiceGraph } from '../graph/service-graph.ts'
import type { NodeFacts } from '../node/facts.ts'
import { eachInTurn, type Steps } from '../slices.ts'
import { TextChunks } from '../text-chunks.ts'
import { isServiceChain } from './names.ts'
import type { Rule } from './program.ts'
import { rulesetInTurn, type IptablesRuleset } from './ruleset.ts'
import { sharedPart } from './shared-part.ts'
import { chainLine, ruleText } from './text.ts'

/** All rules, to be put where it is not known yet what is there. */
export interface WholeLoad {
  ruleset: IptablesRuleset
  tables: readonly WholeTable[]
}

interface WholeTable {
  table: 'filter' | 'nat'
  chains: ReadonlySet<string>
  /** Lines of the text. */
  rules: readonly string[]
}

/** What there is already. */
export interface Present {
  /** Chains of the table nat; those of service ports that nothing uses any more are deleted. */
  natChains: ReadonlySet<string>
  /** Rules to be put at the head of chains of the table, which has these chains of ours: the last one ends up first. */
  insertions(table: string, chains: ReadonlySet<string>): readonly Rule[]
}

/** @throws RangeError for malformed facts: mark bit, CIDRs, interface names */
export function* wholeLoadInTurn(graph: ServiceGraph, facts: NodeFacts): Steps<WholeLoad> {
  const shared = sharedPart(facts, graph.family)
  const natChains = new Set(shared.nat.chains)
  const texts = { filter: new TextChunks(), nat: new TextChunks() }
  const add = (table: 'filter' | 'nat', rules: readonly Rule[]): void => {
    for (const rule of rules) texts[table].add(`-A ${ruleText(rule)}`)
  }
  add('nat', shared.nat.first)
  const ruleset = yield* rulesetInTurn(graph, facts, {}, ({ filter, nat, chains, rules }) => {
    add('filter', filter)
    add('nat', nat)
    add('nat', rules)
    for (const chain of chains) natChains.add(chain)
  })
  add('nat', shared.nat.last)
  add('filter', shared.filter.last)
  const filter = { table: 'filter', chains: new Set(shared.filter.chains), rules: texts.filter.end() } as const
  return { ruleset, tables: [filter, { table: 'nat', chains: natChains, rules: texts.nat.end() }] }
}

/** The input for `iptables-restore --noflush --counters`, in pieces. */
export function* wholeTextInTurn({ tables }: WholeLoad, present: Present): Steps<readonly string[]> {
  const text = new TextChunks()
  for (const { table, chains, rules } of tables) {
    const stale: string[] = []
    yield* eachInTurn(table === 'nat' ? present.natChains : [], (chain) => {
      if (isServiceChain(chain) && !chains.has(chain)) stale.push(chain)
    })
    text.add(`*${table}`)
    for (const list of [chains, stale.sort()]) yield* eachInTurn(list, (chain) => text.add(chainLine(chain)))
    text.append(rules)
    for (const rule of present.insertions(table, chains)) text.add(`-I ${ruleText(rule)}`)
    yield* eachInTurn(stale, (chain) => text.add(`-X ${chain}`))
    text.add('COMMIT')
  }
  return text.end()
}
