// Keeps the rules in iptables, one run of iptables-restore for each load.
import type { ServiceGraph } from '../graph/service-graph.ts'
import { compileIptables } from '../iptables/compile.ts'
import type { IptablesProgram } from '../iptables/program.ts'
import { createRuleCounter, type TableCount } from '../iptables/rule-count.ts'
import { iptablesText } from '../iptables/text.ts'
import type { NodeFacts } from '../node/facts.ts'
import type { RuleBackend } from './backend.ts'
import { canaryText, wasFlushed } from './canary.ts'
import { canary, cleanUp } from './cleanup.ts'
import type { Iptables } from './iptables-restore.ts'
import { iptablesJumps, withMissingJumps } from './jumps.ts'

/** @param counted told how many rules there are after each load */
export function createIptablesBackend(
  iptables: Iptables,
  counted: (counts: readonly TableCount[]) => void = () => {},
): RuleBackend {
  const counter = createRuleCounter()
  /** Chains that the nat table has. */
  let known: ReadonlySet<string> = new Set()
  const loadAll = async (graph: ServiceGraph, facts: NodeFacts): Promise<void> => {
    let chains = known
    let loaded: IptablesProgram | undefined
    await iptables.update((saved) => {
      const existing = saved.get('nat')?.chains ?? new Set()
      const program = compileIptables(graph, facts, { existing })
      chains = natChainsAfter(existing, program)
      loaded = program
      return canaryText(canary) + iptablesText(withMissingJumps(program, saved, iptablesJumps))
    })
    known = chains
    if (loaded) counted(counter.loaded(loaded, true))
  }
  return {
    family: iptables.family,
    load: async (graph, facts, changed) => {
      if (!changed) return loadAll(graph, facts)
      const program = compileIptables(graph, facts, { existing: known, changed })
      await iptables.restore(iptablesText(program))
      known = natChainsAfter(known, program)
      counted(counter.loaded(program, false))
    },
    wasFlushed: () => wasFlushed(iptables, canary),
    cleanUp: () => cleanUp(iptables),
  }
}

function natChainsAfter(before: ReadonlySet<string>, { tables }: IptablesProgram): ReadonlySet<string> {
  const nat = tables.find(({ table }) => table === 'nat')
  return new Set([...before, ...(nat?.chains ?? [])]).difference(new Set(nat?.deletions))
}
