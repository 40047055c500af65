// Tables of iptables: iptables-restore in, iptables-save out.
import { runRuleProgram } from './rule-program.ts'
import { createRuleQueue } from './rule-queue.ts'
import type { TableLines } from './rule-queue.ts'
import type { Host, Rules } from './types.ts'

/** How long iptables waits for another program's lock, in seconds. */
const lockSeconds = '5'
/** What the programs say when the kernel has no such table. */
const isUnusable = /table does not exist|can't initialize|failed to initialize nft|not supported/i

/** @param netns whose rules; absent: this process's */
export function createRules(family: 4 | 6, netns: string | undefined): Rules {
  const prefix = family === 4 ? 'iptables' : 'ip6tables'
  const program = { netns, from: 'iptables', isUnusable }
  return createRuleQueue({
    look: async (table) => (await runRuleProgram(program, `${prefix}-save`, ['-t', table])).split('\n'),
    apply: async (parts) => {
      const input = restoreInput(parts)
      if (input !== '') await runRuleProgram(program, `${prefix}-restore`, ['--noflush', '-w', lockSeconds], input)
    },
    sharesLooks: false, // two would both make what is missing of what they share
  })
}

/** Each table once, its chains first; empty when there is nothing to do. */
function restoreInput(parts: readonly TableLines[]): string {
  const tables = new Set(parts.filter(({ lines }) => lines.length > 0).map(({ table }) => table))
  return [...tables]
    .map((table) => {
      const lines = parts.filter((part) => part.table === table).flatMap((part) => part.lines)
      const chains = lines.filter((line) => line.startsWith(':'))
      const rest = lines.filter((line) => !line.startsWith(':'))
      return [`*${table}`, ...new Set(chains), ...rest, 'COMMIT', ''].join('\n')
    })
    .join('')
}

/** What takes away all rules that name one of the chains, and the chains that are to go. */
export function removalOf(saved: readonly string[], chains: readonly string[]): string[] {
  const there = chains.filter((chain) => saved.some((line) => line.startsWith(`:${chain} `)))
  const jumps = saved.filter(
    (line) =>
      line.startsWith('-A ') &&
      there.some((chain) => line.endsWith(` -j ${chain}`) && !line.startsWith(`-A ${chain} `)),
  )
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
  isGuess = !families,
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
