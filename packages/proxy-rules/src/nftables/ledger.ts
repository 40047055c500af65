// What the table holds, and who asked for each of its elements: two service ports may ask for the same one.
import { createClaims, type Claims } from '../graph/claims.ts'
import { changedPartsInTurn } from '../graph/parts.ts'
import { findByPrefix } from '../graph/sorted.ts'
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

interface Change {
  key: string
  before: Part
  after: Part
}

export function createLedger(): Ledger {
  const claims = createClaims<Element>(({ container, key }) => `${container} ${key}`)
  let current: NftablesProgram | undefined
  function* updateInTurn(next: NftablesProgram): Steps<Difference> {
    const changes = yield* allChangesInTurn(current, next)
    const written = next.layout === 'compat' ? yield* ofSameServicesInTurn(changes, next) : changes
    current = next
    const objects = yield* objectDifferenceInTurn(written)
    return { ...objects, ...(yield* elementDifferenceInTurn(claims, changes)) }
  }
  return { update: (next) => finish(updateInTurn(next)), updateInTurn }
}

function* allChangesInTurn(previous: NftablesProgram | undefined, next: NftablesProgram): Steps<Change[]> {
  const changes: Change[] = [{ key: sharedKey, before: previous?.shared ?? nothing, after: next.shared }]
  const parts = yield* changedPartsInTurn(previous, next)
  yield* eachInTurn(parts, ({ key, before = nothing, after = nothing }) => void changes.push({ key, before, after }))
  return changes
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

function* elementDifferenceInTurn(
  claims: Claims<Element>,
  changes: readonly Change[],
): Steps<Pick<Difference, 'removals' | 'additions'>> {
  const asked = changes.map(({ key, before, after }) => ({ key, before: before.elements, after: after.elements }))
  const removals: Element[] = []
  const additions: Element[] = []
  yield* eachInTurn(yield* claims.updateInTurn(asked), ({ before, after }) => {
    if (before && after && before.verdict === after.verdict && before.comment === after.comment) return
    // The kernel does not overwrite what a map holds.
    if (before) removals.push(before)
    if (after) additions.push(after)
  })
  return { removals, additions }
}
