// The service graph as an IPVS program.
import { type Parts, partsInTurn } from '../graph/parts.ts'
import type { ServiceGraph } from '../graph/service-graph.ts'
import { findByKey, withChanges } from '../graph/sorted.ts'
import type { IptablesProgram } from '../iptables/program.ts'
import { checkFacts } from '../node/check-facts.ts'
import type { NodeFacts } from '../node/facts.ts'
import { finish, type Steps } from '../slices.ts'
import { glueProgram } from './glue.ts'
import type { Demand, IpvsPart, IpvsProgram } from './program.ts'
import { servicePart } from './service-part.ts'
import { ipSets } from './sets.ts'
import { excludedRanges, ipvsStyle, ipvsStyleText, type IpvsSettings } from './style.ts'

/** How a program is compiled. */
export interface IpvsOptions extends IpvsSettings {
  /** An earlier program of the same family: what did not change is used again. Default: none. */
  previous?: IpvsProgram | undefined
}

/**
 * Compiles `graph` for a node. Pure, and the same input gives the same program.
 *
 * @throws RangeError for malformed facts and options: mark bit, CIDRs, interface names, scheduler.
 */
export const compileIpvs = (graph: ServiceGraph, facts: NodeFacts, options: IpvsOptions = {}): IpvsProgram =>
  finish(compileIpvsInTurn(graph, facts, options))

/** The same, to be done in slices. */
export function* compileIpvsInTurn(
  graph: ServiceGraph,
  facts: NodeFacts,
  { previous, ...settings }: IpvsOptions = {},
): Steps<IpvsProgram> {
  checkFacts(facts)
  const { family } = graph
  const style = ipvsStyle(facts, family, settings)
  const styleText = ipvsStyleText(facts, family, settings)
  const known = previous?.style === styleText ? previous : undefined
  const parts = yield* partsInTurn(graph, known, (node) => servicePart(node, style))
  const demand = demandOf(parts, known)
  return {
    family,
    style: styleText,
    sets: ipSets(family),
    ...parts,
    glue: glueOf(graph, facts, demand),
    excluded: excludedRanges(settings, family),
    demand,
  }
}

function glueOf({ family }: ServiceGraph, facts: NodeFacts, { entries, withRules }: Demand): IptablesProgram {
  return glueProgram({ family, facts, occupied: entries, rules: withRules.flatMap(({ rules }) => rules) })
}

function demandOf(parts: Parts<IpvsPart>, known: IpvsProgram | undefined): Demand {
  if (!known || parts.change?.since !== known.version) {
    const withRules = parts.services.filter(({ rules }) => rules.length > 0)
    return { entries: counted(new Map(), parts.services, 1), withRules }
  }
  const keys = [...parts.change.keys]
  const find = (services: readonly IpvsPart[]): IpvsPart[] =>
    keys.map((key) => findByKey(services, key)).filter((part) => part !== undefined)
  const before = find(known.services)
  const after = find(parts.services)
  const rest = counted(known.demand.entries, before, -1)
  const hadRules = [...before, ...after].filter(({ rules }) => rules.length > 0)
  const changes = hadRules.map(({ key }): [string, IpvsPart | undefined] => {
    const now = findByKey(parts.services, key)
    return [key, now && now.rules.length > 0 ? now : undefined]
  })
  return { entries: counted(rest, after, 1), withRules: withChanges(known.demand.withRules, new Map(changes)) }
}

function counted(before: ReadonlyMap<string, number>, parts: readonly IpvsPart[], by: 1 | -1): Map<string, number> {
  const counts = new Map(before)
  for (const { entries } of parts)
    for (const { set } of entries) {
      const count = (counts.get(set) ?? 0) + by
      if (count === 0) counts.delete(set)
      else counts.set(set, count)
    }
  return counts
}
