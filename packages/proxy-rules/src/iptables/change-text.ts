// The text that brings the tables from one ruleset to the next: chains of service ports that differ are written, and in the chains that
// all share only the rules that differ, each at its place.
import { findByKey, sortedByKey } from '../graph/sorted.ts'
import { eachInTurn, finish, type Steps } from '../slices.ts'
import { joined, TextChunks } from '../text-chunks.ts'
import { ChainGroups, loadTextsInTurn, type Load, type TableLoad, type TableName } from './load.ts'
import { findEntry, rulesBefore } from './positions.ts'
import type { IptablesRuleset } from './ruleset.ts'
import { entrancesOf, servicePartInTurn, sharedChains, textsByChain } from './service-part.ts'
import type { Entrances, ServicePart, SharedChain } from './service-part.ts'

/** What happens to one table, each list in its order. */
interface TableChange {
  chains: string[]
  removals: string[]
  insertions: string[]
  additions: string[]
}

interface PartChange {
  key: string
  before: ServicePart
  after: ServicePart
}

const nothing: ServicePart = { filter: [], nat: [], chains: [], rules: [] }

/**
 * A shared chain is written as a whole rather than changed by more rules than these: iptables-nft compares all rules of the chain for
 * each, and that costs as much as to write 5 % of them, however long the chain is.
 */
const mostChanges = 16

/**
 * The input for `iptables-restore --noflush --counters` that makes of tables with `previous` what a whole load of `next` makes; empty
 * when there is nothing to do. What others have put into our chains may be left where it was, or be in the way: the text is then
 * refused, and a whole load is due.
 *
 * @throws RangeError when an argument holds quotes, backslashes or control characters.
 */
export const iptablesChangeText = (previous: IptablesRuleset, next: IptablesRuleset): string =>
  joined(finish(loadTextsInTurn(finish(changeLoadInTurn(previous, next, Infinity)), Infinity)).flat())

/** What is loaded, to be made in slices. @param most chains of service ports in a group */
export function* changeLoadInTurn(previous: IptablesRuleset, next: IptablesRuleset, most: number): Steps<Load> {
  const tables = { filter: emptyChange(), nat: emptyChange() }
  const changes: PartChange[] = []
  const groups = new ChainGroups(most)
  const stale: string[] = []
  for (const key of keysToCompare(previous, next)) {
    const change = { key, before: yield* partInTurn(previous, key), after: yield* partInTurn(next, key) }
    changes.push(change)
    const { written, unused } = ownChains(change)
    groups.add(written)
    stale.push(...unused)
    yield
  }
  for (const table of ['filter', 'nat'] as const) addSharedPart(tables[table], table, previous, next)
  // In the order of their keys: each insertion finds those before it in place.
  const ordered = yield* sortedByKey(changes)
  for (const shared of sharedChains) yield* addSharedChain(tables[shared.table], shared, ordered, previous, next)
  const [filter, nat] = [yield* linesOfInTurn(tables.filter), yield* linesOfInTurn(tables.nat)]
  return { filter, nat, groups: groups.end(), stale }
}

const emptyChange = (): TableChange => ({ chains: [], removals: [], insertions: [], additions: [] })

function* linesOfInTurn({ chains, removals, insertions, additions }: TableChange): Steps<TableLoad> {
  const text = new TextChunks()
  for (const rule of removals) text.add(`-D ${rule}`)
  for (const rule of insertions) text.add(`-I ${rule}`)
  yield* eachInTurn(additions, (rule) => text.add(`-A ${rule}`))
  return { chains, lines: text.end(), count: insertions.length + additions.length }
}

function keysToCompare(previous: IptablesRuleset, next: IptablesRuleset): Iterable<string> {
  if (next.change?.since === previous.version) return next.change.keys
  return new Set([...previous.nodes, ...next.nodes].map(({ key }) => key))
}

function* partInTurn({ nodes, positions, style }: IptablesRuleset, key: string): Steps<ServicePart> {
  const node = findByKey(nodes, key)
  return node ? yield* servicePartInTurn(node, style, findEntry(positions, key)?.comments ?? true) : nothing
}

const isSame = (a: readonly string[] | undefined, b: readonly string[]): boolean =>
  a !== undefined && a.length === b.length && b.every((text, index) => text === a[index])

function writeChain({ chains, additions }: TableChange, chain: string, texts: readonly string[]): void {
  chains.push(chain)
  for (const text of texts) additions.push(`${chain} ${text}`)
}

function ownChains({ before, after }: PartChange): { written: [string, string[]][]; unused: Iterable<string> } {
  const old = textsByChain(before.rules, before.chains)
  const written: [string, string[]][] = []
  for (const [chain, texts] of textsByChain(after.rules, after.chains)) {
    if (!isSame(old.get(chain), texts)) written.push([chain, texts])
    old.delete(chain)
  }
  return { written, unused: old.keys() }
}

const isShared = (table: string, chain: string): boolean =>
  sharedChains.some((shared) => shared.table === table && shared.chain === chain)

/** Chains that no Service has a part in. What is no longer wanted stays, for others may use it. */
function addSharedPart(change: TableChange, table: TableName, previous: IptablesRuleset, next: IptablesRuleset): void {
  const old = textsOf(previous, table)
  for (const [chain, texts] of textsOf(next, table))
    if (!isShared(table, chain) && !isSame(old.get(chain), texts)) writeChain(change, chain, texts)
}

function textsOf({ shared }: IptablesRuleset, table: TableName): Map<string, string[]> {
  const { chains, first, last } = shared[table]
  return textsByChain([...first, ...last], chains)
}

const textsIn = (part: Entrances, { table, chain }: SharedChain): string[] => textsByChain(part[table]).get(chain) ?? []

function* addSharedChain(
  { chains, removals, insertions, additions }: TableChange,
  shared: SharedChain,
  changes: readonly PartChange[],
  previous: IptablesRuleset,
  next: IptablesRuleset,
): Steps<void> {
  const { table, chain } = shared
  const index = sharedChains.indexOf(shared)
  const out: string[] = []
  const into: string[] = []
  yield* eachInTurn(changes, ({ key, before, after }) => {
    const [old, texts] = [textsIn(before, shared), textsIn(after, shared)]
    if (isSame(old, texts)) return
    out.push(...old)
    const first = rulesBefore(next.positions, key, index) + 1
    for (const [at, text] of texts.entries()) into.push(`${chain} ${first + at} ${text}`)
  })
  const oldTail = textsOf(previous, table).get(chain) ?? []
  const tail = textsOf(next, table).get(chain) ?? []
  const isTailSame = isSame(oldTail, tail)
  if (out.length + into.length > mostChanges) {
    chains.push(chain)
    for (const node of next.nodes) {
      for (const text of textsIn(entrancesOf(node, next.style), shared)) additions.push(`${chain} ${text}`)
      yield
    }
  } else {
    for (const text of isTailSame ? out : [...out, ...oldTail]) removals.push(`${chain} ${text}`)
    insertions.push(...into)
    if (isTailSame) return
  }
  for (const text of tail) additions.push(`${chain} ${text}`)
}
