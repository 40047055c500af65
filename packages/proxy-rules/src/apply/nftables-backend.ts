// Keeps the rules in nftables: what is committed is known from memory, and a transaction carries what changed.
import type { ServiceGraph } from '../graph/service-graph.ts'
import type { Logger } from '../log.ts'
import type { NodeFacts } from '../node/facts.ts'
import { compileInTurn } from '../nftables/compile.ts'
import { createLedger, type Difference, type Ledger } from '../nftables/ledger.ts'
import type { NftablesProgram } from '../nftables/program.ts'
import type { NftablesLayout } from '../nftables/style.ts'
import { changeTextInTurn, cleanupText, deletionText, fullTextInTurn } from '../nftables/text.ts'
import { inSlices } from '../slices.ts'
import type { RuleBackend } from './backend.ts'
import type { Nft, NftObject } from './nft.ts'

export interface NftablesBackendOptions {
  nft: Nft
  layout: NftablesLayout
  /** Told when nft refuses to delete what is not used any more. */
  cleanupFailed?: () => void
  log: Logger
}

/** What is in the kernel. */
interface Committed {
  program: NftablesProgram
  ledger: Ledger
}

/** An object that is not used any more, since `at` in milliseconds on the clock of `performance`. */
interface Unused extends NftObject {
  at: number
}

/** Kernels before 6.2 count a reference from a map for a moment after it is gone. */
const unusedMs = 1000

export function createNftablesBackend(options: NftablesBackendOptions): RuleBackend {
  const { nft, layout, cleanupFailed, log } = options
  const { family } = nft
  let committed: Committed | undefined
  let unused = new Map<string, Unused>()
  /** Base chains of an earlier process may have other priorities. */
  let ownBaseChains = false
  /** A whole load was refused: something is in the table that does not fit. */
  let refused = false

  const note = (objects: Iterable<NftObject>): void => {
    const at = performance.now()
    for (const object of objects) if (!unused.has(object.name)) unused.set(object.name, { ...object, at })
  }
  const emptied = (): string[] => [...unused.values()].filter(({ kind }) => kind === 'chain').map(({ name }) => name)

  const loadAll = async (program: NftablesProgram, signal: AbortSignal | undefined): Promise<void> => {
    committed = undefined
    unused = new Map()
    const ledger = createLedger()
    const difference = await inSlices(ledger.updateInTurn(program), signal)
    if (!refused) note(leftovers(await nft.objects(), difference))
    const present = { resetBaseChains: !ownBaseChains, rebuild: refused }
    const text = await inSlices(fullTextInTurn(family, difference, emptied(), present), signal)
    // Until it has succeeded: the next try starts from nothing.
    refused = true
    await nft.run(text)
    refused = false
    ownBaseChains = true
    committed = { program, ledger }
  }
  const loadChanges = async (
    { ledger }: Committed,
    program: NftablesProgram,
    signal: AbortSignal | undefined,
  ): Promise<void> => {
    committed = undefined
    const difference = await inSlices(ledger.updateInTurn(program), signal)
    for (const { name } of [...difference.chains, ...difference.containers]) unused.delete(name)
    const stale = difference.staleChains.map((name) => ({ kind: 'chain', name }) as const)
    note([...stale, ...difference.staleContainers])
    // In the other layout those that were emptied once are not emptied again.
    const toEmpty = layout === 'compat' ? emptied() : difference.staleChains
    const text = await inSlices(changeTextInTurn(family, difference, toEmpty), signal)
    if (text.length > 0) await nft.run(text)
    committed = { program, ledger }
  }
  /** Says whether it went well. */
  const deleteUnused = async (): Promise<boolean> => {
    const before = performance.now() - unusedMs
    const due = [...unused.values()].filter(({ at }) => at <= before)
    if (due.length === 0) return true
    const chains = due.filter(({ kind }) => kind === 'chain').map(({ name }) => name)
    const containers = due.flatMap(({ kind, name }) => (kind === 'chain' ? [] : [{ kind, name }]))
    for (const { name } of due) unused.delete(name)
    try {
      await nft.run(deletionText(family, chains, containers))
      return true
    } catch (error) {
      cleanupFailed?.()
      log.warn({ err: error, family }, 'unused chains could not be deleted: all rules are loaded again')
      return false
    }
  }
  return {
    family,
    load: async (graph: ServiceGraph, facts: NodeFacts, changed, signal) => {
      const program = await inSlices(compileInTurn(graph, facts, { layout, previous: committed?.program }), signal)
      if (changed && committed && (await deleteUnused())) await loadChanges(committed, program, signal)
      else await loadAll(program, signal)
    },
    isRenewed: () => true,
    wasFlushed: async () => committed !== undefined && (await nft.isFlushed()) === true,
    cleanUp: async () => {
      committed = undefined
      unused = new Map()
      await nft.run(cleanupText(family))
    },
  }
}

/** What is there and not in the program. */
function leftovers(objects: readonly NftObject[], { chains, containers }: Difference): NftObject[] {
  const wanted = new Set([...chains, ...containers].map(({ name }) => name))
  return objects.filter(({ name }) => !wanted.has(name))
}
