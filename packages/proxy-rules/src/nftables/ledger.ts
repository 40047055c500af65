// What the table holds, and who asked for each of its elements: two service ports may ask for the same one.
import { createClaims, type ClaimChange, type Claims } from '../graph/claims.ts'
import { changedParts } from '../graph/parts.ts'
import { findByPrefix } from '../graph/sorted.ts'
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
  return {
    update: (next) => {
      const changes = allChanges(current, next)
      const written = next.layout === 'compat' ? ofSameServices(changes, next) : changes
      current = next
      return { ...objectDifference(written), ...elementDifference(claims, changes) }
    },
  }
}

function allChanges(previous: NftablesProgram | undefined, next: NftablesProgram): Change[] {
  const shared = { key: sharedKey, before: previous?.shared ?? nothing, after: next.shared }
  const parts = changedParts(previous, next)
  return [shared, ...parts.map(({ key, before = nothing, after = nothing }) => ({ key, before, after }))]
}

/** The Go proxy writes all chains of a Service when anything of it changes: here they count as new. */
function ofSameServices([shared, ...others]: readonly Change[], next: NftablesProgram): Change[] {
  const rewritten = new Map(
    others.map((change) => [change.key, { ...change, before: without(change.before, change.after) }]),
  )
  // Namespace and name.
  const services = new Set(others.map(({ key }) => `${key.split('/', 2).join('/')}/`))
  for (const after of [...services].flatMap((prefix) => findByPrefix(next.services, prefix)))
    if (!rewritten.has(after.key)) rewritten.set(after.key, { key: after.key, before: nothing, after })
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

function objectDifference(changes: readonly Change[]): Omit<Difference, 'removals' | 'additions'> {
  const containers: Container[] = []
  const chains: Chain[] = []
  const staleChains: string[] = []
  const staleContainers: Container[] = []
  for (const { before, after } of changes) {
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
  }
  return { containers, chains, staleChains, staleContainers }
}

function elementDifference(
  claims: Claims<Element>,
  changes: readonly Change[],
): Pick<Difference, 'removals' | 'additions'> {
  const asked = changes.map(({ key, before, after }): ClaimChange<Element> => ({
    key,
    before: before.elements,
    after: after.elements,
  }))
  const removals: Element[] = []
  const additions: Element[] = []
  for (const { before, after } of claims.update(asked)) {
    if (before && after && before.verdict === after.verdict && before.comment === after.comment) continue
    // The kernel does not overwrite what a map holds.
    if (before) removals.push(before)
    if (after) additions.push(after)
  }
  return { removals, additions }
}
