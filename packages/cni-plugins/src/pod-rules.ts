// What the plugins of one chain change in the tables of rules, made as one.
import { CniError, cniCode } from './errors.ts'
import type { Host, RuleBackend, RuleChange, Rules } from './types.ts'

const backends = [4, 6, 'nftables'] as const
type Changes = Record<RuleBackend, RuleChange[]>

/** Collects the changes of one pod. */
export function collectRules(tables: Readonly<Record<RuleBackend, Rules>>): Pick<Host, 'changeRules' | 'settleRules'> {
  let waiting: Changes = { 4: [], 6: [], nftables: [] }
  return {
    changeRules: (backend, change) => void waiting[backend].push(change),
    settleRules: async (signal) => {
      const changes = waiting
      waiting = { 4: [], 6: [], nftables: [] }
      const settled = await settle(tables, changes, signal)
      const otherwise = settled.flatMap((one) => (one.error && instead(one.error, one.changes)) || [])
      const failures = settled.filter(({ error, changes: own }) => error && !instead(error, own))
      if (otherwise.length > 0) {
        const again = await settle(tables, { 4: [], 6: [], nftables: otherwise }, signal)
        failures.push(...again.filter(({ error }) => error))
      }
      const first = failures.find(({ error, changes: own }) => !isPassedOver(error, own))
      if (first) throw first.error
      if (failures.length > 0 && failures.length === settled.length) throw failures.at(-1)?.error
    },
  }
}

interface Settled {
  changes: readonly RuleChange[]
  error?: unknown
}

async function settle(
  tables: Readonly<Record<RuleBackend, Rules>>,
  changes: Changes,
  signal: AbortSignal,
): Promise<Settled[]> {
  const asked = backends.filter((backend) => changes[backend].length > 0)
  return Promise.all(
    asked.map(async (backend) => {
      const own = changes[backend]
      try {
        await tables[backend].commit(own, signal)
        for (const { after } of own) await after?.()
        return { changes: own }
      } catch (error) {
        return { changes: own, error }
      }
    }),
  )
}

const isUnavailable = (error: unknown): boolean => error instanceof CniError && error.code === cniCode.notAvailable

/** What is changed instead on a machine without iptables; undefined when that is no way out. */
function instead(error: unknown, changes: readonly RuleChange[]): RuleChange[] | undefined {
  const others = changes.flatMap(({ otherwise }) => otherwise ?? [])
  return isUnavailable(error) && others.length === changes.length ? others : undefined
}

/** What this machine cannot do of what was only guessed. */
const isPassedOver = (error: unknown, changes: readonly RuleChange[]): boolean =>
  isUnavailable(error) && changes.every(({ isGuess }) => isGuess)
