// The text that `nft -f` reads: each text is one transaction, of which all or nothing happens.
import type { IPFamily } from '../net/address.ts'
import { eachInTurn, finish, type Steps } from '../slices.ts'
import { joined, TextChunks, type TextPiece } from '../text-chunks.ts'
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

function* addChains(text: TextChunks, place: string, chains: readonly Chain[]): Steps<void> {
  yield* eachInTurn(chains, (chain) => text.add(declareChain(place, chain)))
  yield* eachInTurn(chains, ({ name, rules }) => {
    text.add(`flush chain ${place} ${name}`)
    for (const rule of rules) text.add(`add rule ${place} ${name} ${rule}`)
  })
}

const lines = (all: readonly string[]): string => (all.length > 0 ? `${all.join('\n')}\n` : '')

/** A whole program in pieces, from its difference to an empty table; chains in `stale` are emptied. To be made in slices. */
export function* fullTextInTurn(
  family: IPFamily,
  { containers, chains, additions }: Difference,
  stale: readonly string[],
  { resetBaseChains, rebuild }: Present,
): Steps<readonly TextPiece[]> {
  const place = at(family)
  const text = new TextChunks()
  const baseChains = resetBaseChains ? chains.filter(({ hook }) => hook !== undefined) : []
  text.add(table(family))
  if (rebuild) for (const line of [`delete table ${place}`, table(family)]) text.add(line)
  for (const chain of baseChains)
    for (const line of [declareChain(place, chain), `delete chain ${place} ${chain.name}`]) text.add(line)
  yield* eachInTurn(containers, (container) => {
    text.add(declareContainer(place, container))
    if (container.timeoutSeconds === undefined) text.add(`flush ${container.kind} ${place} ${container.name}`)
  })
  yield* addChains(text, place, chains)
  yield* eachInTurn(stale, (name) => text.add(`flush chain ${place} ${name}`))
  yield* eachInTurn(additions, (element) => text.add(added(place, element)))
  return text.end()
}

/** What changed, in pieces; chains in `stale` are emptied. None when there is nothing. To be made in slices. */
export function* changeTextInTurn(
  family: IPFamily,
  { containers, chains, removals, additions }: Difference,
  stale: readonly string[],
): Steps<readonly TextPiece[]> {
  const place = at(family)
  const text = new TextChunks()
  yield* eachInTurn(containers, (container) => text.add(declareContainer(place, container)))
  yield* addChains(text, place, chains)
  yield* eachInTurn(stale, (name) => text.add(`flush chain ${place} ${name}`))
  yield* eachInTurn(removals, (element) => text.add(removed(place, element)))
  yield* eachInTurn(additions, (element) => text.add(added(place, element)))
  return text.end()
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
export const nftablesText = (program: NftablesProgram): string => {
  const present = { resetBaseChains: false, rebuild: false }
  return joined(finish(fullTextInTurn(program.family, createLedger().update(program), [], present)))
}

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
  return joined(finish(changeTextInTurn(next.family, difference, [...waiting, ...difference.staleChains])))
}
