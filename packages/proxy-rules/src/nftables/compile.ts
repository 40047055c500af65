// The service graph as an nftables program.
import { partsInTurn } from '../graph/parts.ts'
import type { ServiceGraph, ServiceNode } from '../graph/service-graph.ts'
import { checkFacts } from '../node/check-facts.ts'
import type { NodeFacts } from '../node/facts.ts'
import { finish, type Steps } from '../slices.ts'
import { entrances, servedBy } from './entrances.ts'
import { nftablesNames } from './names.ts'
import type { Chain, NftablesProgram, ServicePart } from './program.ts'
import { endpointChain, externalChain, firewallChain, policyChain } from './service-chains.ts'
import { sharedPart } from './shared-part.ts'
import { layoutOf, styleOf, type NftablesLayout, type Style } from './style.ts'

/** How a program is compiled. */
export interface NftablesOptions {
  /** Default `fast`. */
  layout?: NftablesLayout
  /** An earlier program of the same family: what did not change is used again. Default: none. */
  previous?: NftablesProgram | undefined
}

/**
 * Compiles `graph` for a node. Pure, and the same input gives the same program.
 *
 * @throws RangeError for malformed facts and a layout that is none, which it names with their value.
 */
export const compileNftables = (
  graph: ServiceGraph,
  facts: NodeFacts,
  options: NftablesOptions = {},
): NftablesProgram => finish(compileInTurn(graph, facts, options))

/** The same, to be done in slices. */
export function* compileInTurn(
  graph: ServiceGraph,
  facts: NodeFacts,
  options: NftablesOptions = {},
): Steps<NftablesProgram> {
  checkFacts(facts)
  const { previous } = options
  const layout = layoutOf(options.layout)
  const style = styleOf(facts, graph.family, layout)
  const styleText = JSON.stringify(style, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))
  const known = previous?.style === styleText ? previous : undefined
  const parts = yield* partsInTurn(graph, known, (node) => servicePart(node, style))
  return { family: graph.family, layout, style: styleText, shared: sharedPart(facts, style), ...parts }
}

/** Shared: most service ports have none. */
const nothing: readonly never[] = []

function servicePart(node: ServiceNode, style: Style): ServicePart {
  const { port, choice } = node
  const names = nftablesNames(port)
  const served = servedBy(port, choice)
  const { cluster, local } = choice
  const chains: Chain[] = []
  if (served.external) chains.push(externalChain(port, names, served.outside, style))
  if (served.firewall) chains.push(firewallChain(port, names, style))
  if (cluster.length > 0) chains.push(policyChain(names.cluster, port, cluster, names, style))
  if (local.length > 0) chains.push(policyChain(names.local, port, local, names, style))
  const remembering = port.affinitySeconds > 0 ? choice.reachable : nothing
  const endpoints = remembering.map((endpoint) => endpointChain(port, endpoint, names, style))
  return {
    key: node.key,
    node,
    chains: endpoints.length > 0 ? [...chains, ...endpoints.map(({ chain }) => chain)] : chains,
    containers: endpoints.length > 0 ? endpoints.map(({ affinity }) => affinity) : nothing,
    elements: entrances(port, choice, served, names),
  }
}
