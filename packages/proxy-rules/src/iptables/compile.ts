// The service graph as an iptables program.
import type { ServiceGraph } from '../graph/service-graph.ts'
import type { NodeFacts } from '../node/facts.ts'
import { addEntrances } from './entrances.ts'
import { isServiceChain } from './names.ts'
import type { IptablesProgram } from './program.ts'
import { addServiceChains, serviceChains } from './service-chains.ts'
import { endTables, startTables } from './shared-part.ts'
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
 * @throws RangeError for malformed facts: mark bit, CIDRs, interface names.
 */
export function compileIptables(graph: ServiceGraph, facts: NodeFacts, options: CompileOptions = {}): IptablesProgram {
  const { family, nodes } = graph
  const tables = startTables(facts, family)
  const style = { ...styleOf(facts, family), comments: hasComments(graph) }
  const active = new Set<string>()
  for (const { port, choice } of nodes) {
    const chains = serviceChains(port, choice)
    addEntrances(tables, chains, style)
    for (const chain of chains.names) active.add(chain)
    if (options.changed && !options.changed.has(`${port.namespace}/${port.service}`)) continue
    addServiceChains(tables.nat, chains, style)
  }
  const stale = [...new Set(options.existing)].filter((chain) => isServiceChain(chain) && !active.has(chain)).sort()
  endTables(tables, facts, family)
  return { family, tables: [tables.filter.build([]), tables.nat.build(stale)] }
}
