// What iptables-restore makes of the tables, as far as our texts go, and what it refuses.

/** Table → chain → rules without the chain. */
export type Tables = Map<string, Map<string, string[]>>

/** Changes the tables, all of a table or nothing. @throws Error naming the line that iptables would refuse */
export function restore(tables: Tables, text: string): void {
  let name = ''
  let chains = new Map<string, string[]>()
  for (const line of text.split('\n')) {
    const refuse = (why: string): never => {
      throw new Error(`${line}: ${why}`)
    }
    const rulesOf = (chain: string): string[] => chains.get(chain) ?? refuse('no such chain')
    const [, command = '', chain = '', rest = ''] = /^(-[A-Z]) (\S+) ?(.*)$/.exec(line) ?? []
    const check = (rule: string): string => {
      const target = /(?:^| )-j (KUBE-\S+)/.exec(rule)?.[1]
      if (target !== undefined && !chains.has(target)) refuse('no such target')
      return rule
    }
    if (line.startsWith('*')) {
      name = line.slice(1)
      chains = new Map([...(tables.get(name) ?? [])].map(([key, rules]) => [key, [...rules]]))
    } else if (line.startsWith(':')) chains.set(/^:(\S+) - \[0:0\]$/.exec(line)?.[1] ?? refuse('malformed'), [])
    else if (line === 'COMMIT') tables.set(name, chains)
    else if (command === '-A') rulesOf(chain).push(check(rest))
    else if (command === '-D') {
      const rules = rulesOf(chain)
      const at = rules.indexOf(check(rest))
      if (at < 0) refuse('no such rule')
      rules.splice(at, 1)
    } else if (command === '-I') {
      const [, number = '', rule = ''] = /^(\d+) (.*)$/.exec(rest) ?? refuse('malformed')
      if (Number(number) < 1 || Number(number) > rulesOf(chain).length + 1) refuse('index of insertion too big')
      rulesOf(chain).splice(Number(number) - 1, 0, check(rule))
    } else if (command === '-X') {
      if (rulesOf(chain).length > 0) refuse('not empty')
      const isUsed = [...chains.values()].flat().some((rule) => rule.endsWith(`-j ${chain}`))
      if (isUsed) refuse('still used')
      chains.delete(chain)
    } else if (line !== '') refuse('unknown command')
  }
}

/** Everything, in an order of its own. */
export const contents = (tables: Tables): Record<string, Record<string, string[]>> =>
  Object.fromEntries(
    [...tables].map(([name, chains]) => [name, Object.fromEntries([...chains].sort(([a], [b]) => (a < b ? -1 : 1)))]),
  )
