// What the plugins of one chain change in the nat tables, made as one.
import { CniError, cniCode } from './errors.ts'
import type { Host, RuleChange, Rules } from './types.ts'

const families = [4, 6] as const

/** Collects the changes of one pod. */
export function collectRules(tables: Readonly<Record<4 | 6, Rules>>): Pick<Host, 'changeRules' | 'settleRules'> {
  let waiting: Record<4 | 6, RuleChange[]> = { 4: [], 6: [] }
  return {
    changeRules: (family, change) => void waiting[family].push(change),
    settleRules: async (signal) => {
      const changes = waiting
      waiting = { 4: [], 6: [] }
      const asked = families.filter((family) => changes[family].length > 0)
      const results = await Promise.allSettled(
        asked.map(async (family) => {
          await tables[family].commit(changes[family], signal)
          for (const { after } of changes[family]) await after?.()
        }),
      )
      const failures = results.flatMap((result, index) => {
        if (result.status === 'fulfilled') return []
        const family = asked[index] ?? 4
        return [{ error: result.reason as Error, isPassedOver: isPassedOver(result.reason, changes[family]) }]
      })
      const first = failures.find((failure) => !failure.isPassedOver) ?? failures[asked.length - 1]
      if (first) throw first.error
    },
  }
}

/** What this machine cannot do for a family that was only guessed. */
function isPassedOver(error: unknown, changes: readonly RuleChange[]): boolean {
  const isGuess = changes.every((change) => change.isGuess)
  return isGuess && error instanceof CniError && error.code === cniCode.notAvailable
}
