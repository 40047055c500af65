// The text that `nft -f` reads: each text is one transaction, of which all or nothing happens.
import type { IPFamily } from '../net/address.ts'
import { createLedger, type Difference } from './ledger.ts'
import { tableName } from './names.ts'
import { comment, type Chain, type Container, type Element, type NftablesProgram } from './program.ts'

/** What is in the table already when all of it is loaded. */
export interface Present {
  /** Elements that rules added stay, others go. Base chains are made anew, in case they are another version's. */
  resetBaseChains: boolean
  /** Start from an empty table: nothing of what is there stays. */
  rebuild: boolean
}

const at = (family: IPFamily): string => `${family === 'IPv4' ? 'ip' : 'ip6'} ${tableName}`
const table = (family: IPFamily): string => `add table ${at(family)} { comment "rules for kube-proxy" ; }`

function declareChain(place: string, { name, hook, comment: note }: Chain): string {
  const type = hook ? ` type ${hook.type} hook ${hook.hook} priority ${hook.priority} ;` : ''
  const body = note === undefined ? type : `${type}${comment(note)} ;`
  return `add chain ${place} ${name}${body === '' ? '' : ` {${body} }`}`
}

function declareContainer(place: string, { kind, name, type, timeoutSeconds, comment: note }: Container): string {
  const timeout = timeoutSeconds === undefined ? '' : ` flags dynamic,timeout ; timeout ${timeoutSeconds}s ;`
  return `add ${kind} ${place} ${name} { type ${type} ;${timeout}${note === undefined ? '' : `${comment(note)} ;`} }`
}

const added = (place: string, { container, key, verdict, comment: note }: Element): string =>
  `add element ${place} ${container} { ${key}${note === undefined ? '' : comment(note)}${verdict === undefined ? '' : ` : ${verdict}`} }`

const removed = (place: string, { container, key }: Element): string =>
  `delete element ${place} ${container} { ${key} }`

const chainLines = (place: string, chains: readonly Chain[]): string[] => [
  ...chains.map((chain) => declareChain(place, chain)),
  ...chains.flatMap(({ name, rules }) => [
    `flush chain ${place} ${name}`,
    ...rules.map((rule) => `add rule ${place} ${name} ${rule}`),
  ]),
]

const lines = (all: readonly string[]): string => (all.length > 0 ? `${all.join('\n')}\n` : '')

/** A whole program, from its difference to an empty table; chains in `stale` are emptied. */
export function fullText(
  family: IPFamily,
  { containers, chains, additions }: Difference,
  stale: readonly string[],
  { resetBaseChains, rebuild }: Present,
): string {
  const place = at(family)
  const baseChains = resetBaseChains ? chains.filter(({ hook }) => hook !== undefined) : []
  return lines([
    table(family),
    ...(rebuild ? [`delete table ${place}`, table(family)] : []),
    ...baseChains.flatMap((chain) => [declareChain(place, chain), `delete chain ${place} ${chain.name}`]),
    ...containers.flatMap((container) => [
      declareContainer(place, container),
      ...(container.timeoutSeconds === undefined ? [`flush ${container.kind} ${place} ${container.name}`] : []),
    ]),
    ...chainLines(place, chains),
    ...stale.map((name) => `flush chain ${place} ${name}`),
    ...additions.map((element) => added(place, element)),
  ])
}

/** What changed; chains in `stale` are emptied. Empty when there is nothing. */
export function changeText(family: IPFamily, difference: Difference, stale: readonly string[]): string {
  const place = at(family)
  const { containers, chains, removals, additions } = difference
  return lines([
    ...containers.map((container) => declareContainer(place, container)),
    ...chainLines(place, chains),
    ...stale.map((name) => `flush chain ${place} ${name}`),
    ...removals.map((element) => removed(place, element)),
    ...additions.map((element) => added(place, element)),
  ])
}

/** Deletes chains that are empty, and sets and maps that no rule names. */
export function deletionText(
  family: IPFamily,
  chains: readonly string[],
  containers: readonly Pick<Container, 'kind' | 'name'>[],
): string {
  const place = at(family)
  return lines([
    ...chains.map((name) => `delete chain ${place} ${name}`),
    ...containers.map(({ kind, name }) => `delete ${kind} ${place} ${name}`),
  ])
}

/** Deletes the table, whether it is there or not. */
export const cleanupText = (family: IPFamily): string =>
  lines([`add table ${at(family)}`, `delete table ${at(family)}`])

/** For a check without effect: it would be refused while there are rules, since one of them names this map. */
export const probeText = (family: IPFamily): string => lines([`delete map ${at(family)} service-ips`])

/** The whole program as one transaction; elements that rules added stay in the sets of a table that is there already. */
export const nftablesText = (program: NftablesProgram): string =>
  fullText(program.family, createLedger().update(program), [], { resetBaseChains: false, rebuild: false })

/**
 * The transaction that brings the table from one program to the next; empty when they are the same. Chains that are no longer
 * used are emptied, as are those in `waiting`, and stay: kernels before 6.2 let nobody delete them in the transaction that
 * removes the last reference.
 */
export function nftablesChangeText(
  previous: NftablesProgram,
  next: NftablesProgram,
  waiting: readonly string[] = [],
): string {
  const ledger = createLedger()
  ledger.update(previous)
  const difference = ledger.update(next)
  return changeText(next.family, difference, [...waiting, ...difference.staleChains])
}
