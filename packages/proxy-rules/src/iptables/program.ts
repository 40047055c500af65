// An iptables program as data: what one iptables-restore run declares, appends and deletes.
import type { IPFamily } from '../net/address.ts'

/** A rule: its chain, and match and target arguments one by one, unquoted. */
export interface Rule {
  chain: string
  args: readonly string[]
}

/** What happens to one table. */
export interface TableProgram {
  table: 'filter' | 'nat' | 'mangle'
  /** Created, or emptied where they exist. Chains that are not named stay as they are. */
  chains: readonly string[]
  /** Appended in this order. */
  rules: readonly Rule[]
  /** Put at the head of their chains, one after the other: the last one ends up first. Default: none. */
  insertions?: readonly Rule[]
  /** Deleted after everything else; each is also in `chains`, and so empty. */
  deletions: readonly string[]
}

/** What one run of iptables-restore, or ip6tables-restore, loads. */
export interface IptablesProgram {
  family: IPFamily
  tables: readonly TableProgram[]
}

/** Collects a table's chains and rules. */
export class TableBuilder {
  readonly table: 'filter' | 'nat'
  readonly #chains = new Set<string>()
  readonly #rules: Rule[] = []

  constructor(table: 'filter' | 'nat', chains: readonly string[] = []) {
    this.table = table
    for (const chain of chains) this.#chains.add(chain)
  }

  declare(chain: string): void {
    this.#chains.add(chain)
  }

  add(chain: string, ...args: readonly string[]): void {
    this.#rules.push({ chain, args })
  }

  addAll(rules: readonly Rule[]): void {
    for (const rule of rules) this.#rules.push(rule)
  }

  build(deletions: readonly string[] = []): TableProgram {
    return { table: this.table, chains: [...this.#chains, ...deletions], rules: this.#rules, deletions }
  }
}

/** Arguments for a comment. */
export const comment = (text: string): string[] => ['-m', 'comment', '--comment', text]
