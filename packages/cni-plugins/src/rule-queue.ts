// Pods that change tables at the same time share one transaction.
import { CniError, cniCode } from './errors.ts'
import type { RuleChange, Rules, RuleTable } from './types.ts'

export interface TableLines {
  table: RuleTable
  lines: readonly string[]
}

/** What a table is looked at and changed with. */
export interface RuleTool {
  /** As the tool prints it; empty when there is no such table. */
  look(table: RuleTable): Promise<string[]>
  /** Makes all in one transaction, or nothing. Nothing to do is fine. */
  apply(parts: readonly TableLines[]): Promise<void>
  /** Whether what several pods make of one look may be made together. */
  sharesLooks: boolean
}

/** How often a table is looked at whose change is refused. */
const looks = 3

interface Waiting {
  changes: readonly RuleChange[]
  done: PromiseWithResolvers<void>
}

export function createRuleQueue({ look, apply, sharesLooks }: RuleTool): Rules {
  let queue: Waiting[] = []
  let running = false

  /** False when a table is not as they expect: nothing is changed then. */
  const asExpected = async (changes: readonly RuleChange[]): Promise<boolean> => {
    if (!changes.every(({ lines }) => lines !== undefined)) return false
    try {
      await apply(changes.map(({ table = 'nat', lines = [] }) => ({ table, lines })))
      return true
    } catch {
      return false // a look at the table tells what it takes, or what is wrong
    }
  }

  /** Somebody else may change a table after the look. */
  const byLook = async (changes: readonly RuleChange[]): Promise<void> => {
    for (let tries = looks; ; tries -= 1) {
      try {
        return await byOneLook(changes)
      } catch (error) {
        const isHopeless = error instanceof CniError && error.code === cniCode.notAvailable
        if (tries === 1 || isHopeless || !changes.some(({ from }) => from)) throw error
      }
    }
  }

  const byOneLook = async (changes: readonly RuleChange[]): Promise<void> => {
    const tables = new Set(changes.filter(({ from }) => from).map(({ table = 'nat' }) => table))
    const saved = new Map(await Promise.all([...tables].map(async (table) => [table, await look(table)] as const)))
    await apply(
      changes.map(({ table = 'nat', from, lines = [] }) => ({
        table,
        lines: from ? from(saved.get(table) ?? []) : lines,
      })),
    )
  }

  const together = async (changes: readonly RuleChange[]): Promise<boolean> => {
    if (await asExpected(changes)) return true
    if (!sharesLooks) return false
    return byLook(changes).then(
      () => true,
      () => false, // alone each tells what is wrong with it
    )
  }

  const drain = async (): Promise<void> => {
    running = true
    while (queue.length > 0) {
      const batch = queue
      queue = []
      const isDone = batch.length > 1 && (await together(batch.flatMap(({ changes }) => changes)))
      for (const { changes, done } of batch) {
        const made = async (): Promise<void> => {
          if (!isDone && !(await asExpected(changes))) await byLook(changes)
        }
        await made().then(done.resolve, done.reject)
      }
    }
    running = false
  }

  return {
    commit: async (changes, signal) => {
      signal.throwIfAborted()
      if (changes.length === 0) return
      const done = Promise.withResolvers<void>()
      queue.push({ changes, done })
      if (!running) void drain()
      await done.promise
    },
  }
}
