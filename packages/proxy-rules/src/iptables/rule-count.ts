// How many rules the tables have, known from what was loaded. No kernel is asked. Pure.
import type { Load, TableName } from './load.ts'
import type { IptablesRuleset } from './ruleset.ts'
import { sharedChains } from './service-part.ts'

export interface TableCount {
  table: string
  /** All that the proxy has there. */
  total: number
  /** What the last load wrote. */
  written: number
}

const tables: readonly TableName[] = ['filter', 'nat']

/** Jumps from the kernel's own chains do not count, as with kube-proxy. */
export const ruleCount = (ruleset: IptablesRuleset, load: Omit<Load, 'stale'>): TableCount[] =>
  tables.map((table) => ({ table, total: totalOf(ruleset, table), written: writtenOf(load, table) }))

/** How many rules each chain has that is not a single Service's; those without any are left out. */
export function chainCounts({ shared, positions }: IptablesRuleset, table: TableName): Map<string, number> {
  const counts = new Map<string, number>()
  const add = (chain: string, count: number): void => {
    if (count > 0) counts.set(chain, (counts.get(chain) ?? 0) + count)
  }
  for (const { chain } of [...shared[table].first, ...shared[table].last]) add(chain, 1)
  for (const [at, one] of sharedChains.entries()) if (one.table === table) add(one.chain, positions?.sums[at] ?? 0)
  return counts
}

function totalOf({ shared, positions }: IptablesRuleset, table: TableName): number {
  const sums = positions?.sums ?? []
  const entrances = sharedChains.reduce((sum, one, at) => sum + (one.table === table ? (sums[at] ?? 0) : 0), 0)
  // Behind the shared chains, those of the service ports' own.
  const own = table === 'nat' ? (sums[sharedChains.length] ?? 0) : 0
  return shared[table].first.length + entrances + own + shared[table].last.length
}

function writtenOf(load: Omit<Load, 'stale'>, table: TableName): number {
  const { count: lines } = load[table]
  return table === 'nat' ? load.groups.reduce((sum, { count }) => sum + count, lines) : lines
}
