// Loads programs into the kernel, and reads what is there.
import type { IPFamily } from '../net/address.ts'
import { inSlices, type Steps } from '../slices.ts'
import { runProgram } from './program.ts'
import type { ProgramResult } from './program.ts'
import { createSavedReader, type SavedTables } from './saved.ts'

/** In one string or in pieces, each of whole lines. */
export type RestoreText = string | readonly string[]

/** The iptables of one family in one network namespace. */
export interface Iptables {
  family: IPFamily
  /** `--random-fully` is known (1.6.2 and later). */
  randomFully: boolean
  /** Loads a text in one transaction per table. @throws Error with the line that was refused and its neighbours */
  restore(text: RestoreText): Promise<void>
  /**
   * Loads what is made from a look at the tables, one text after the other; an empty one is left out. One after the other in this
   * process: of two that look before either loads, both would put in what they miss.
   */
  update(textsOf: (saved: SavedTables) => Iterable<RestoreText> | Promise<Iterable<RestoreText>>): Promise<void>
  /** Whether the chain is there; undefined when the kernel was too busy to tell. */
  hasChain(table: string, chain: string): Promise<boolean | undefined>
}

const wait = ['-w', '5']
const oldest = [1, 6, 2]
const busy = 4
/** Family and network namespace → the update that was asked for last. */
const updates = new Map<string, Promise<unknown>>()

/** @throws Error when the programs are not there or too old, or the kernel has no such tables */
export async function openIptables(family: IPFamily, netns?: string): Promise<Iptables> {
  const name = family === 'IPv4' ? 'iptables' : 'ip6tables'
  const run = (program: string, args: readonly string[]): Promise<ProgramResult> => runProgram(program, args, { netns })
  const version = (await run(name, ['--version'])).stdout.trim()
  const numbers = /v(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number)
  if (!numbers || isOlder(numbers)) throw new Error(`${name} is ${JSON.stringify(version)}: 1.6.2 or later is needed`)
  const probe = await run(name, [...wait, '-S', 'POSTROUTING', '-t', 'nat'])
  if (probe.code !== 0) {
    throw new Error(`${name} cannot read the nat table (${probe.stderr.trim()}): needs root and the nat table`)
  }
  const restore = async (text: RestoreText): Promise<void> => {
    const pieces = typeof text === 'string' ? [text] : text
    const args = [...wait, '--noflush', '--counters']
    const { code, stderr } = await runProgram(`${name}-restore`, args, { netns, input: pieces })
    if (code === 0) return
    throw new Error(`${name}-restore failed with ${code}: ${await inSlices(explainInTurn(stderr, pieces))}`)
  }
  const save = async (): Promise<SavedTables> => {
    const reader = createSavedReader()
    const { code, stderr } = await runProgram(`${name}-save`, [], { netns, onOutput: reader.add })
    if (code !== 0) throw new Error(`${name}-save failed with ${code}: ${stderr.trim()}`)
    return reader.end()
  }
  return {
    family,
    randomFully: true,
    restore,
    update: async (textsOf) => {
      const key = `${family} ${netns}`
      const update = (updates.get(key) ?? Promise.resolve()).then(async () => {
        for (const text of await textsOf(await save())) if (text.length > 0) await restore(text)
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

/** Lines before and after the one that was refused. */
const linesAround = 3

/** What iptables-restore said, with the lines around the one that it names. */
function* explainInTurn(stderr: string, pieces: readonly string[]): Steps<string> {
  const said = stderr.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('Try `'))
  const refused = Number(/line:? (\d+)/.exec(stderr)?.[1] ?? 0)
  const near: string[] = []
  let number = 0
  for (const piece of refused > 0 ? pieces : []) {
    for (const line of piece.trimEnd().split('\n')) {
      number += 1
      if (Math.abs(number - refused) <= linesAround) near.push(`${number === refused ? '>' : ' '} ${number}: ${line}`)
    }
    yield
  }
  return [...said, ...near].join('\n')
}
