// Keeps the rules in iptables, by a run of iptables-restore for each load, or a few for a large one.
import type { ServiceGraph } from '../graph/service-graph.ts'
import { compileIptables, isLargeCluster } from '../iptables/compile.ts'
import { chainsAtOnce, inPieces } from '../iptables/pieces.ts'
import type { IptablesProgram } from '../iptables/program.ts'
import { iptablesText } from '../iptables/text.ts'
import type { NodeFacts } from '../node/facts.ts'
import type { RuleBackend } from './backend.ts'
import { canaryText, wasFlushed } from './canary.ts'
import { canary, cleanUp } from './cleanup.ts'
import type { Iptables } from './iptables-restore.ts'
import { withMissingJumps } from './jumps.ts'

export function createIptablesBackend(iptables: Iptables): RuleBackend {
  /** Chains that the nat table has. */
  let known: ReadonlySet<string> = new Set()
  const most = chainsAtOnce[iptables.variant]
  const loadAll = async (graph: ServiceGraph, facts: NodeFacts): Promise<void> => {
    let chains = known
    await iptables.update((saved) => {
      const existing = saved.get('nat')?.chains ?? new Set()
      const program = compileIptables(graph, facts, { existing })
      chains = natChainsAfter(existing, program)
      return textsOf(inPieces(withMissingJumps(program, saved), most), canaryText(canary))
    })
    known = chains
  }
  return {
    family: iptables.family,
    iptables: iptables.variant,
    load: async (graph, facts, changed) => {
      if (!changed) return loadAll(graph, facts)
      const program = compileIptables(graph, facts, { existing: known, changed })
      for (const text of textsOf(inPieces(program, most))) await iptables.restore(text)
      known = natChainsAfter(known, program)
    },
    isRenewed: (graph) => !isLargeCluster(graph),
    wasFlushed: () => wasFlushed(iptables, canary),
    cleanUp: () => cleanUp(iptables),
  }
}

/** Each is made when it is asked for. */
function* textsOf(pieces: readonly IptablesProgram[], before = ''): Generator<string> {
  for (const [index, piece] of pieces.entries()) yield (index === 0 ? before : '') + iptablesText(piece)
}

function natChainsAfter(before: ReadonlySet<string>, { tables }: IptablesProgram): ReadonlySet<string> {
  const nat = tables.find(({ table }) => table === 'nat')
  return new Set([...before, ...(nat?.chains ?? [])]).difference(new Set(nat?.deletions))
}
