// The service graph as an iptables program.
import type { ServiceGraph } from '../graph/service-graph.ts'
import type { NodeFacts } from '../node/facts.ts'
import { finish } from '../slices.ts'
import { addEntrances } from './entrances.ts'
import { isServiceChain } from './names.ts'
import { TableBuilder, type IptablesProgram } from './program.ts'
import { addServiceChainsInTurn, serviceChains } from './service-chains.ts'
import { sharedPart } from './shared-part.ts'
import { hasComments, styleOf } from './style.ts'

/** What a compilation may leave out and has to clear away. */
export interface CompileOptions {
  /** `namespace/name` of the Services whose own chains are written; default: all. Shared chains are always whole. */
  changed?: ReadonlySet<string>
  /** Chains in the kernel's nat table; those of Services that nothing uses any more are deleted. Default: none. */
  existing?: Iterable<string>
}

/**
 * Compiles `graph` for a node. Pure, and the same input gives the same program.
 *
 * @throws RangeError for malformed facts, which it names with their value.
 */
export function compileIptables(graph: ServiceGraph, facts: NodeFacts, options: CompileOptions = {}): IptablesProgram {
  const { family, nodes } = graph
  const shared = sharedPart(facts, family)
  const filter = new TableBuilder('filter', shared.filter.chains)
  const nat = new TableBuilder('nat', shared.nat.chains)
  nat.addAll(shared.nat.first)
  const style = { ...styleOf(facts, family), comments: hasComments(graph) }
  const active = new Set<string>()
  for (const { port, choice } of nodes) {
    const chains = serviceChains(port, choice)
    addEntrances({ filter, nat }, chains, style)
    for (const chain of chains.names) active.add(chain)
    if (options.changed && !options.changed.has(`${port.namespace}/${port.service}`)) continue
    finish(addServiceChainsInTurn(nat, chains, style))
  }
  const stale = [...new Set(options.existing)].filter((chain) => isServiceChain(chain) && !active.has(chain)).sort()
  nat.addAll(shared.nat.last)
  filter.addAll(shared.filter.last)
  return { family, tables: [filter.build(), nat.build(stale)] }
}
