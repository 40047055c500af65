// The text that iptables-restore reads.
import type { IptablesProgram, Rule, TableProgram } from './program.ts'

const forbidden = /["\\\p{Cc}]/u
/** Most arguments: nothing in them has to be looked at more closely. */
const plain = /^[\w.:/,!@=+-]+$/

/** iptables-restore knows double quotes and backslashes; a single quote is a letter to it, as are all within double quotes. */
const quoted = (arg: string): string => {
  if (plain.test(arg)) return arg
  if (arg === '' || forbidden.test(arg))
    throw new RangeError(
      `iptables rule: the argument ${JSON.stringify(arg)} cannot be written; remove quotes and backslashes`,
    )
  return /[ ']/.test(arg) ? `"${arg}"` : arg
}

/** A rule's arguments. @throws RangeError when one holds quotes, backslashes or control characters */
export function argsText(args: readonly string[]): string {
  let text = ''
  for (const arg of args) text += text === '' ? quoted(arg) : ` ${quoted(arg)}`
  return text
}

/** What stands behind `-A` or another command. */
export const ruleText = ({ chain, args }: Rule): string => `${chain} ${argsText(args)}`

/** Makes a chain, or empties it. */
export const chainLine = (chain: string): string => `:${chain} - [0:0]`

const tableLines = ({ table, chains, rules, insertions = [], deletions }: TableProgram): string[] => [
  `*${table}`,
  ...chains.map(chainLine),
  ...rules.map((rule) => `-A ${ruleText(rule)}`),
  ...insertions.map((rule) => `-I ${ruleText(rule)}`),
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
