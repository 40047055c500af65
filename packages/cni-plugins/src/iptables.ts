// Tables of iptables: iptables-restore in, iptables-save out.
import { runRuleProgram } from './rule-program.ts'
import { createRuleQueue } from './rule-queue.ts'
import type { Host, Rules, RuleTable } from './types.ts'

/** How long iptables waits for another program's lock, in seconds. */
const lockSeconds = '5'
/** What the programs say when the kernel has no such table. */
const isUnusable = /table does not exist|can't initialize|failed to initialize nft|not supported/i

/**
 * Each table is changed for itself: of several in one run the first stays changed when the second is refused.
 *
 * @param netns whose rules; absent: this process's
 */
export function createRules(family: 4 | 6, netns: string | undefined): Rules {
  const tables = new Map<RuleTable, Rules['commit']>()
  const commitTo = (table: RuleTable): Rules['commit'] => {
    const known = tables.get(table) ?? createTable(table, family, netns)
    tables.set(table, known)
    return known
  }
  return {
    commit: async (changes, signal) => {
      const wanted = Map.groupBy(changes, ({ table = 'nat' }) => table)
      const results = await Promise.allSettled([...wanted].map(async ([table, some]) => commitTo(table)(some, signal)))
      for (const result of results) if (result.status === 'rejected') throw result.reason
    },
  }
}

function createTable(table: RuleTable, family: 4 | 6, netns: string | undefined): Rules['commit'] {
  const prefix = family === 4 ? 'iptables' : 'ip6tables'
  const program = { netns, from: 'iptables', isUnusable }
  const { commit } = createRuleQueue({
    look: async () => (await runRuleProgram(program, `${prefix}-save`, ['-t', table])).split('\n'),
    apply: async (parts) => {
      const lines = parts.flatMap((part) => part.lines)
      if (lines.length === 0) return
      await runRuleProgram(program, `${prefix}-restore`, ['--noflush', '-w', lockSeconds], restoreInput(table, lines))
    },
    sharesLooks: false, // two would both make what is missing of what they share
  })
  return commit
}

/** Chains first. */
function restoreInput(table: RuleTable, lines: readonly string[]): string {
  const chains = lines.filter((line) => line.startsWith(':'))
  const rest = lines.filter((line) => !line.startsWith(':'))
  return [`*${table}`, ...new Set(chains), ...rest, 'COMMIT', ''].join('\n')
}

/** The names of a table's chains. */
export const chainsIn = (saved: readonly string[]): string[] =>
  saved.flatMap((line) => /^:(\S+) /.exec(line)?.[1] ?? [])

/** What takes away all rules that name one of the chains, and the chains that are to go. */
export function removalOf(saved: readonly string[], chains: readonly string[]): string[] {
  const inTable = new Set(chainsIn(saved))
  const there = chains.filter((chain) => inTable.has(chain))
  const goes = new Set(there)
  const jumps = saved.filter((line) => {
    const [, from = '', to = ''] = /^-A (\S+) .*-j (\S+)$/.exec(line) ?? []
    return goes.has(to) && !goes.has(from) // those of the chains go with them
  })
  return [
    ...there.map((chain) => `:${chain} - [0:0]`),
    ...jumps.map((line) => `-D ${line.slice(3)}`),
    ...there.map((chain) => `-X ${chain}`),
  ]
}

/**
 * Has chains and all that leads to them taken out of the tables of the families; fine when there are none.
 *
 * @param families absent: not known
 * @param linesOf what it takes when all of them are there
 * @param isGuess they may have been made in another way, on a machine without iptables
 */
export function removeChains(
  host: Host,
  chains: readonly string[],
  families: readonly (4 | 6)[] | undefined,
  linesOf: (family: 4 | 6) => readonly string[] | undefined,
  isGuess: boolean = !families,
): void {
  for (const family of families ?? ([4, 6] as const)) {
    const lines = families && linesOf(family)
    host.changeRules(family, {
      from: (saved) => removalOf(saved, chains),
      isGuess,
      ...(lines && { lines }),
    })
  }
}
