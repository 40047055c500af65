// Loads programs into the kernel, and reads what is there.
import type { IPFamily } from '../net/address.ts'
import { runProgram } from './program.ts'
import type { ProgramResult } from './program.ts'
import { parseSaved } from './saved.ts'
import type { SavedTable } from './saved.ts'

/** The two that a machine may have side by side, each with rules of its own. */
export type IptablesFlavour = 'legacy' | 'nft'

/** The iptables of one family in one network namespace. */
export interface Iptables {
  family: IPFamily
  /** Which of the kernel's mechanisms it keeps its rules in. */
  flavour: IptablesFlavour
  /** `--random-fully` is known (1.6.2 and later). */
  randomFully: boolean
  /** Loads a text in one transaction per table. @throws Error with the line that was refused and its neighbours */
  restore(text: string): Promise<void>
  /**
   * Loads what is made from a look at the tables, unless it is empty. One after the other in this process: of two that look
   * before either loads, both would put in what they miss.
   */
  update(textOf: (saved: ReadonlyMap<string, SavedTable>) => string): Promise<void>
  /** Whether the chain is there; undefined when the kernel was too busy to tell. */
  hasChain(table: string, chain: string): Promise<boolean | undefined>
}

const wait = ['-w', '5']
const oldest = [1, 6, 2]
const busy = 4
/** Program and network namespace → the update that was asked for last. */
const updates = new Map<string, Promise<unknown>>()

/**
 * @param flavour default: the one that the machine uses
 * @throws Error when the programs are not there or too old, or the kernel has no such tables
 */
export async function openIptables(family: IPFamily, netns?: string, flavour?: IptablesFlavour): Promise<Iptables> {
  const name = (family === 'IPv4' ? 'iptables' : 'ip6tables') + (flavour === undefined ? '' : `-${flavour}`)
  const run = (program: string, args: readonly string[], input = ''): Promise<ProgramResult> =>
    runProgram(program, args, { netns, input })
  const version = (await run(name, ['--version'])).stdout.trim()
  const numbers = /v(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number)
  if (!numbers || isOlder(numbers)) throw new Error(`${name} is ${JSON.stringify(version)}: 1.6.2 or later is needed`)
  const probe = await run(name, [...wait, '-S', 'POSTROUTING', '-t', 'nat'])
  if (probe.code !== 0) {
    throw new Error(`${name} cannot read the nat table (${probe.stderr.trim()}): needs root and the nat table`)
  }
  const restore = async (text: string): Promise<void> => {
    const args = [...wait, '--noflush', '--counters']
    const { code, stderr } = await run(`${name}-restore`, args, text)
    if (code !== 0) throw new Error(`${name}-restore failed with ${code}: ${explain(stderr, text)}`)
  }
  const save = async (): Promise<Map<string, SavedTable>> => {
    const { code, stdout, stderr } = await run(`${name}-save`, [])
    if (code !== 0) throw new Error(`${name}-save failed with ${code}: ${stderr.trim()}`)
    return parseSaved(stdout)
  }
  return {
    family,
    flavour: version.includes('nf_tables') ? 'nft' : 'legacy',
    randomFully: true,
    restore,
    update: async (textOf) => {
      const key = `${name} ${netns}`
      const update = (updates.get(key) ?? Promise.resolve()).then(async () => {
        const text = textOf(await save())
        if (text !== '') await restore(text)
      })
      // The caller hears of it.
      const quiet = update.catch(() => undefined)
      updates.set(key, quiet)
      await update
    },
    hasChain: async (table, chain) => {
      const { code } = await run(name, [...wait, '-S', chain, '-t', table])
      return code === busy ? undefined : code === 0
    },
  }
}

function isOlder(version: readonly number[]): boolean {
  const index = oldest.findIndex((part, at) => part !== version[at])
  return index >= 0 && (version[index] ?? 0) < (oldest[index] ?? 0)
}

/** What iptables-restore said, with the lines around the one that it names. */
export function explain(stderr: string, text: string): string {
  const said = stderr.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('Try `'))
  const number = Number(/line:? (\d+)/.exec(stderr)?.[1] ?? 0)
  const lines = text.split('\n')
  const near = lines
    .map((line, index) => ({ line, number: index + 1 }))
    .filter((line) => number > 0 && Math.abs(line.number - number) <= 3 && line.line !== '')
    .map((line) => `${line.number === number ? '>' : ' '} ${line.number}: ${line.line}`)
  return [...said, ...near].join('\n')
}
