// All that one service port has in the tables.
import type { ServiceNode } from '../graph/service-graph.ts'
import type { Steps } from '../slices.ts'
import { addEntrances } from './entrances.ts'
import { TableBuilder, type Rule } from './program.ts'
import { addServiceChainsInTurn, serviceChains, type ServiceChains } from './service-chains.ts'
import type { Style } from './style.ts'
import { argsText } from './text.ts'

/** The rules of a service port in the chains that all Services share, in their order. */
export interface Entrances {
  filter: readonly Rule[]
  nat: readonly Rule[]
}

export interface ServicePart extends Entrances {
  /** Its own chains in the table nat, and their rules. */
  chains: readonly string[]
  rules: readonly Rule[]
}

/** The chains that all Services share. */
export const sharedChains = [
  { table: 'filter', chain: 'KUBE-SERVICES' },
  { table: 'filter', chain: 'KUBE-EXTERNAL-SERVICES' },
  { table: 'filter', chain: 'KUBE-NODEPORTS' },
  { table: 'filter', chain: 'KUBE-PROXY-FIREWALL' },
  { table: 'nat', chain: 'KUBE-SERVICES' },
  { table: 'nat', chain: 'KUBE-NODEPORTS' },
] as const

export type SharedChain = (typeof sharedChains)[number]

export const entrancesOf = ({ port, choice }: ServiceNode, style: Style): Entrances =>
  written(serviceChains(port, choice), style)

/** To be made in slices. @param comments whether its own chains have some */
export function* servicePartInTurn({ port, choice }: ServiceNode, style: Style, comments: boolean): Steps<ServicePart> {
  const chains = serviceChains(port, choice)
  const own = new TableBuilder('nat')
  yield* addServiceChainsInTurn(own, chains, { ...style, comments })
  const { chains: names, rules } = own.build()
  return { ...written(chains, style), chains: names, rules }
}

function written(chains: ServiceChains, style: Style): Entrances {
  const filter = new TableBuilder('filter')
  const nat = new TableBuilder('nat')
  addEntrances({ filter, nat }, chains, style)
  return { filter: filter.build().rules, nat: nat.build().rules }
}

/** How many rules it has in each of {@link sharedChains}. */
export const ruleCounts = (entrances: Entrances): number[] =>
  sharedChains.map(({ table, chain }) => entrances[table].reduce((sum, rule) => sum + Number(rule.chain === chain), 0))

/** Texts of the rules, without the chain, by chain. */
export function textsByChain(rules: readonly Rule[], chains: readonly string[] = []): Map<string, string[]> {
  const texts = new Map<string, string[]>(chains.map((chain) => [chain, []]))
  for (const { chain, args } of rules) {
    const known = texts.get(chain)
    if (known) known.push(argsText(args))
    else texts.set(chain, [argsText(args)])
  }
  return texts
}
