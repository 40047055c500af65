// How many rules the tables have, known from the programs that were loaded. No kernel is asked.
import type { IptablesProgram, TableProgram } from './program.ts'

export interface TableCount {
  table: string
  /** All that the proxy has there. */
  total: number
  /** What the last program wrote. */
  written: number
}

export interface RuleCounter {
  /** A program has been loaded. @param isWhole nothing of earlier programs is left */
  loaded(program: IptablesProgram, isWhole: boolean): TableCount[]
}

/** Jumps from the kernel's own chains do not count, as with kube-proxy. */
export function createRuleCounter(): RuleCounter {
  /** Table → chain → rules. */
  let tables = new Map<string, Map<string, number>>()
  const totals = new Map<string, number>()
  return {
    loaded: (program, isWhole) => {
      if (isWhole) {
        tables = new Map()
        totals.clear()
      }
      return program.tables.map((one) => {
        const { table, rules } = one
        const chains = tables.get(table) ?? new Map<string, number>()
        tables.set(table, chains)
        const total = (totals.get(table) ?? 0) + replace(chains, one)
        totals.set(table, total)
        return { table, total, written: rules.length }
      })
    },
  }
}

/** Counts the rules of the chains that were written anew. @returns how many more there are */
function replace(chains: Map<string, number>, { chains: declared, rules, deletions }: TableProgram): number {
  let more = 0
  for (const chain of declared) {
    more -= chains.get(chain) ?? 0
    chains.set(chain, 0)
  }
  for (const { chain } of rules) chains.set(chain, (chains.get(chain) ?? 0) + 1)
  for (const chain of deletions) chains.delete(chain)
  return more + rules.length
}
