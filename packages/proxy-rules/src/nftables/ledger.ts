// What the table holds, and who asked for each of its elements: two service ports may ask for the same one.
import { findByKey, findByPrefix } from '../graph/sorted.ts'
import { eachInTurn, finish, type Steps } from '../slices.ts'
import type { Chain, Container, Element, NftablesProgram, Part } from './program.ts'

/** What brings a table from one program to the next. */
export interface Difference {
  /** New, or with another timeout; in the layout `compat` all of changed Services. */
  containers: readonly Container[]
  /** New, or with other rules; in the layout `compat` all of changed Services. */
  chains: readonly Chain[]
  removals: readonly Element[]
  additions: readonly Element[]
  /** No longer in the program. */
  staleChains: readonly string[]
  staleContainers: readonly Container[]
}

/** Stands for what the table holds after all differences so far. */
export interface Ledger {
  /** What `next` has otherwise than the program before, or, the first time, than an empty table. */
  update(next: NftablesProgram): Difference
  /** The same, to be done in slices. One that is not done to its end leaves the ledger useless. */
  updateInTurn(next: NftablesProgram): Steps<Difference>
}

const nothing: Part = { chains: [], containers: [], elements: [] }
const sharedKey = ''

interface Claim {
  /** Of which part. */
  key: string
  element: Element
}

interface Change {
  key: string
  before: Part
  after: Part
}

export function createLedger(): Ledger {
  const claims = new Map<string, readonly Claim[]>()
  let current: NftablesProgram | undefined
  function* updateInTurn(next: NftablesProgram): Steps<Difference> {
    const changes = yield* changedPartsInTurn(current, next)
    const written = next.layout === 'compat' ? yield* ofSameServicesInTurn(changes, next) : changes
    current = next
    const objects = yield* objectDifferenceInTurn(written)
    return { ...objects, ...(yield* elementDifferenceInTurn(claims, changes)) }
  }
  return { update: (next) => finish(updateInTurn(next)), updateInTurn }
}

function* changedPartsInTurn(previous: NftablesProgram | undefined, next: NftablesProgram): Steps<Change[]> {
  const changes: Change[] = [{ key: sharedKey, before: previous?.shared ?? nothing, after: next.shared }]
  yield* eachInTurn(keysToCompare(previous, next), (key) => {
    const before = (previous && findByKey(previous.services, key)) ?? nothing
    const after = findByKey(next.services, key) ?? nothing
    if (before !== after) changes.push({ key, before, after })
  })
  return changes
}

function keysToCompare(previous: NftablesProgram | undefined, next: NftablesProgram): Iterable<string> {
  if (previous && next.change?.since === previous.version) return next.change.keys
  return new Set([...(previous?.services ?? []), ...next.services].map(({ key }) => key))
}

/** The Go proxy writes all chains of a Service when anything of it changes: here they count as new. */
function* ofSameServicesInTurn(
  [shared, ...others]: readonly Change[],
  next: NftablesProgram,
): Steps<readonly Change[]> {
  const rewritten = new Map<string, Change>()
  // Namespace and name.
  const services = new Set<string>()
  yield* eachInTurn(others, (change) => {
    rewritten.set(change.key, { ...change, before: without(change.before, change.after) })
    services.add(`${change.key.split('/', 2).join('/')}/`)
  })
  yield* eachInTurn(services, (prefix) => {
    for (const after of findByPrefix(next.services, prefix))
      if (!rewritten.has(after.key)) rewritten.set(after.key, { key: after.key, before: nothing, after })
  })
  return [...(shared ? [shared] : []), ...rewritten.values()]
}

/** What of `part` is not in `other`. */
function without(part: Part, other: Part): Part {
  const chains = byName(other.chains)
  const containers = byName(other.containers)
  return {
    chains: part.chains.filter(({ name }) => !chains.has(name)),
    containers: part.containers.filter(({ name }) => !containers.has(name)),
    elements: [],
  }
}

const byName = <T extends { name: string }>(objects: readonly T[]): Map<string, T> =>
  new Map(objects.map((object) => [object.name, object]))

const sameRules = (a: Chain | undefined, b: Chain): boolean =>
  a !== undefined && a.rules.length === b.rules.length && b.rules.every((rule, index) => rule === a.rules[index])

function* objectDifferenceInTurn(changes: readonly Change[]): Steps<Omit<Difference, 'removals' | 'additions'>> {
  const containers: Container[] = []
  const chains: Chain[] = []
  const staleChains: string[] = []
  const staleContainers: Container[] = []
  yield* eachInTurn(changes, ({ before, after }) => {
    const oldChains = byName(before.chains)
    const oldContainers = byName(before.containers)
    for (const chain of after.chains) {
      if (!sameRules(oldChains.get(chain.name), chain)) chains.push(chain)
      oldChains.delete(chain.name)
    }
    for (const container of after.containers) {
      const old = oldContainers.get(container.name)
      if (!old || old.timeoutSeconds !== container.timeoutSeconds) containers.push(container)
      oldContainers.delete(container.name)
    }
    staleChains.push(...oldChains.keys())
    staleContainers.push(...oldContainers.values())
  })
  return { containers, chains, staleChains, staleContainers }
}

/** Of several parts that ask for one element the last one, by key, has its way: it does not depend on who came first. */
const winner = (claims: readonly Claim[] = []): Element | undefined =>
  claims.reduce<Claim | undefined>((best, claim) => (best && best.key > claim.key ? best : claim), undefined)?.element

function* elementDifferenceInTurn(
  claims: Map<string, readonly Claim[]>,
  changes: readonly Change[],
): Steps<Pick<Difference, 'removals' | 'additions'>> {
  const touched = new Map<string, Element | undefined>()
  const touch = (element: Element): string => {
    const id = `${element.container} ${element.key}`
    if (!touched.has(id)) touched.set(id, winner(claims.get(id)))
    return id
  }
  yield* eachInTurn(changes, ({ key, before, after }) => {
    for (const element of before.elements) {
      const id = touch(element)
      const rest = claims.get(id)?.filter((claim) => claim.key !== key) ?? []
      if (rest.length > 0) claims.set(id, rest)
      else claims.delete(id)
    }
    for (const element of after.elements) {
      const id = touch(element)
      claims.set(id, [...(claims.get(id) ?? []), { key, element }])
    }
  })
  const removals: Element[] = []
  const additions: Element[] = []
  yield* eachInTurn(touched, ([id, before]) => {
    const after = winner(claims.get(id))
    if (before && after && before.verdict === after.verdict && before.comment === after.comment) return
    // The kernel does not overwrite what a map holds.
    if (before) removals.push(before)
    if (after) additions.push(after)
  })
  return { removals, additions }
}
