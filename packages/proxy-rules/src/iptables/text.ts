// The text that iptables-restore reads.
import type { IptablesProgram, Rule, TableProgram } from './program.ts'

const forbidden = /["\\\p{Cc}]/u

/** iptables-restore knows double quotes and backslashes; a single quote is a letter to it, as are all within double quotes. */
const quoted = (arg: string): string => {
  if (arg === '' || forbidden.test(arg))
    throw new RangeError(
      `iptables rule: the argument ${JSON.stringify(arg)} cannot be written; remove quotes and backslashes`,
    )
  return /[ ']/.test(arg) ? `"${arg}"` : arg
}

const written = ({ chain, args }: Rule): string => `${chain} ${args.map(quoted).join(' ')}`

const tableLines = ({ table, chains, rules, insertions = [], deletions }: TableProgram): string[] => [
  `*${table}`,
  ...chains.map((chain) => `:${chain} - [0:0]`),
  ...rules.map((rule) => `-A ${written(rule)}`),
  ...insertions.map((rule) => `-I ${written(rule)}`),
  ...deletions.map((chain) => `-X ${chain}`),
  'COMMIT',
]

/**
 * The input for `iptables-restore --noflush --counters`.
 *
 * @throws RangeError when an argument holds double quotes, backslashes or control characters.
 */
export function iptablesText({ tables }: IptablesProgram): string {
  return tables.flatMap(tableLines).join('\n') + '\n'
}
