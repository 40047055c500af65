// What iptables-save prints, as far as the proxy looks at it. Pure.

/** One table as the kernel has it. */
export interface SavedTable {
  chains: ReadonlySet<string>
  /** Without `-A`: the chain, then the rule as iptables prints it. */
  rules: readonly { chain: string; text: string }[]
}

/** Table name → table. Lines that are not understood are passed over. */
export function parseSaved(text: string): Map<string, SavedTable> {
  const tables = new Map<string, SavedTable>()
  let chains = new Set<string>()
  let rules: { chain: string; text: string }[] = []
  for (const line of text.split('\n')) {
    const [, name] = /^\*(\S+)/.exec(line) ?? []
    if (name !== undefined) {
      chains = new Set()
      rules = []
      tables.set(name, { chains, rules })
    }
    const [, chain] = /^:(\S+)/.exec(line) ?? []
    if (chain !== undefined) chains.add(chain)
    const [, parent, rule] = /^(?:\[\d+:\d+\] )?-A (\S+) (.*)$/.exec(line) ?? []
    if (parent !== undefined && rule !== undefined) rules.push({ chain: parent, text: rule })
  }
  return tables
}
