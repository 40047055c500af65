// Tables of nftables: commands in, `nft -a list table` out. The program's input knows no escapes.
import { openNetlink } from '@nodelet/linux'
import type { NftFamily } from '@nodelet/linux'
import { CniError } from './errors.ts'
import { runRuleProgram } from './rule-program.ts'
import { createRuleQueue } from './rule-queue.ts'
import type { TableLines } from './rule-queue.ts'
import type { Rules, RuleTable } from './types.ts'

/** What nft says of a kernel without nf_tables. */
const isUnusable =
  /operation not supported|protocol not supported|cache initialization failed|unable to initialize netlink/i
const isAbsent = /no such file or directory/i
/** As long as nftables takes, in bytes. */
const longestComment = 128

/** @param netns whose rules; absent: this process's */
export function createNftables(netns: string | undefined): Rules {
  const program = { netns, from: 'nftables', isUnusable }
  return createRuleQueue({
    look: async (table) => {
      const [family = '', name = ''] = table.split(' ')
      // Asked before each DEL, nearly always in vain: a message, not a program.
      using netlink = openNetlink({ netns })
      if (!(await netlink.nftables.hasTable(family as NftFamily, name))) return []
      try {
        return (await runRuleProgram(program, 'nft', ['-a', 'list', 'table', family, name])).split('\n')
      } catch (error) {
        if (saysAbsent(error)) return []
        throw error
      }
    },
    apply: async (parts) => {
      const input = commandsOf(parts)
      if (input !== '') await runRuleProgram(program, 'nft', ['-f', '-'], input)
    },
    sharesLooks: true,
  })
}

const saysAbsent = (error: unknown): boolean => error instanceof CniError && isAbsent.test(error.details ?? '')

const commandsOf = (parts: readonly TableLines[]): string =>
  parts
    .flatMap(({ lines }) => [...lines, ''])
    .join('\n')
    .trim()

export interface NftRule {
  chain: string
  handle: string
  /** Without comment and handle. */
  text: string
  comment?: string
}

/** The rules of a table, as it is listed. */
export function nftRules(saved: readonly string[]): NftRule[] {
  let chain = ''
  return saved.flatMap((line) => {
    chain = /^\tchain (\S+) \{/.exec(line)?.[1] ?? chain
    const [, text, comment, handle] = /^\t\t(.*?)(?: comment "([^"]*)")? # handle (\d+)$/.exec(line) ?? []
    if (text === undefined || handle === undefined) return []
    return [{ chain, handle, text, ...(comment !== undefined && { comment }) }]
  })
}

/** Takes out the rules that are chosen. */
export function nftRemoval(table: RuleTable, saved: readonly string[], isChosen: (rule: NftRule) => boolean): string[] {
  return nftRules(saved)
    .filter(isChosen)
    .map(({ chain, handle }) => `delete rule ${table} ${chain} handle ${handle}`)
}

/** A comment as the table holds it. */
export const nftComment = (text: string): string => text.replaceAll('"', '').slice(0, longestComment)
