// All that the tables of one family hold, as far as it takes to tell how one ruleset differs from the next. Rules themselves are not
// kept in memory: those of a service port are made of its node when they are asked for.
import type { ServiceGraph, ServiceNode } from '../graph/service-graph.ts'
import { findByKey, findByPrefix } from '../graph/sorted.ts'
import type { IPFamily } from '../net/address.ts'
import type { NodeFacts } from '../node/facts.ts'
import { finish, type Steps } from '../slices.ts'
import { findEntry, positionsOf, withEntry, withoutEntry, type Entry, type Positions } from './positions.ts'
import { ruleCounts, servicePartInTurn, type ServicePart } from './service-part.ts'
import { sharedPart, type SharedPart } from './shared-part.ts'
import { hasComments, styleOf, type Style } from './style.ts'

export interface IptablesRuleset {
  family: IPFamily
  style: Style
  /** What no Service has a part in. */
  shared: SharedPart
  /** Of the graph. */
  nodes: readonly ServiceNode[]
  positions: Positions
  /** This ruleset, and the graph that it was made of, without keeping them in memory. */
  version: object
  graphVersion: object
  /** Of which ruleset it is a change, and the keys of the service ports that are new, gone or other ones; undefined when any may be. */
  change: { since: object; keys: ReadonlySet<string> } | undefined
}

export interface RulesetOptions {
  /** An earlier ruleset of the same family: what did not change is used again. Default: none. */
  previous?: IptablesRuleset | undefined
}

/**
 * The ruleset of a node: what `compileIptables` makes, to be compared with the one before by `iptablesChangeText`. Pure. In large
 * clusters service ports keep the comments that they had when they were written, as with the Go proxy's partial syncs.
 *
 * @throws RangeError for malformed facts: mark bit, CIDRs, interface names.
 */
export const iptablesRuleset = (graph: ServiceGraph, facts: NodeFacts, options: RulesetOptions = {}): IptablesRuleset =>
  finish(rulesetInTurn(graph, facts, options))

/** The same, to be done in slices. @param visit called for all service ports in their order, or, after `previous`, for those that differ */
export function* rulesetInTurn(
  graph: ServiceGraph,
  facts: NodeFacts,
  { previous }: RulesetOptions = {},
  visit: (part: ServicePart) => void = () => {},
): Steps<IptablesRuleset> {
  const { family, nodes, version: graphVersion } = graph
  const style = styleOf(facts, family)
  const comments = hasComments(graph)
  const isNext =
    previous?.graphVersion === graph.change.since && JSON.stringify(previous.style) === JSON.stringify(style)
  const keys = isNext ? rewrittenKeys(graph, previous.positions, comments) : new Set(nodes.map(({ key }) => key))
  let positions = isNext ? previous.positions : undefined
  const all: Entry[] = []
  for (const key of keys) {
    const node = findByKey(nodes, key)
    const part = node && (yield* servicePartInTurn(node, style, comments))
    if (part) visit(part)
    const entry = part && { key, counts: [...ruleCounts(part), part.rules.length], comments }
    if (isNext) positions = entry ? withEntry(positions, entry) : withoutEntry(positions, key)
    else if (entry) all.push(entry)
    yield
  }
  positions = isNext ? positions : positionsOf(all)
  const change = isNext ? { since: previous.version, keys } : undefined
  return { family, style, shared: sharedPart(facts, family), nodes, positions, version: {}, graphVersion, change }
}

/** With a change of one port all ports of the Service are written, and get the comments of the day. */
function rewrittenKeys({ nodes, change }: ServiceGraph, positions: Positions, comments: boolean): Set<string> {
  const services = new Set([...change.keys].map((key) => `${key.split('/', 2).join('/')}/`))
  const outdated = [...services]
    .flatMap((prefix) => findByPrefix(nodes, prefix))
    .filter(({ key }) => findEntry(positions, key)?.comments !== comments)
  return new Set([...change.keys, ...outdated.map(({ key }) => key)])
}
