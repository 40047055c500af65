// Loads programs into the kernel with one variant of iptables, and reads what is there.
import { readFileSync } from 'node:fs'
import type { IPFamily } from '../net/address.ts'
import { inSlices, type Steps } from '../slices.ts'
import { pieceText, type TextPiece } from '../text-chunks.ts'
import type { IptablesVariant } from './iptables-variant.ts'
import { inNetns, runProgram } from './program.ts'
import type { ProgramResult } from './program.ts'
import { createSavedReader, type SavedTables } from './saved.ts'

/** In one string or in pieces, each of whole lines. */
export type RestoreText = string | readonly TextPiece[]

/** The iptables of one family in one network namespace. */
export interface Iptables {
  family: IPFamily
  variant: IptablesVariant
  /** `--random-fully` is known (1.6.2 and later). */
  randomFully: boolean
  /** Loads a text in one transaction per table. @throws LockedIptables; Error with the line that was refused and its neighbours */
  restore(text: RestoreText): Promise<void>
  /**
   * Loads what is made from a look at the tables, one text after the other; an empty one is left out. One after the other in this
   * process: of two that look before either loads, both would put in what they miss.
   */
  update(textsOf: (saved: SavedTables) => Iterable<RestoreText> | Promise<Iterable<RestoreText>>): Promise<void>
  /** What is there: of one table, or of all. Makes no table that was not there. */
  save(table?: string): Promise<SavedTables>
  /** What these chains of a table have, and maybe others; undefined when the kernel was too busy to tell. A chain that is missing has nothing. */
  saveChains(table: string, chains: readonly string[]): Promise<SavedTables | undefined>
  /** Whether the chain is there; undefined when the kernel was too busy to tell. */
  hasChain(table: string, chain: string): Promise<boolean | undefined>
  /**
   * Whether it works at all; while somebody holds the lock that cannot be told, and a load will. The legacy tables come to be by this.
   * @throws UnusableIptables with what it says when it does not; Error when the kernel was too busy to tell
   */
  probe(): Promise<void>
}

/** The programs of one variant: `iptables-nft`, `iptables-nft-save` and `iptables-nft-restore`, for instance. */
export interface IptablesTool {
  family: IPFamily
  variant: IptablesVariant
  /** What the names of all three begin with. */
  name: string
}

/** The kernel has no such table, or this user may not see it. */
export class UnusableIptables extends Error {
  override readonly name = 'UnusableIptables'
}

/** Another program held the lock of the legacy tables for as long as was waited for it. */
export class LockedIptables extends Error {
  override readonly name = 'LockedIptables'
}

const wait = ['-w', '5']
const busy = 4
const isLocked = (code: number | undefined, stderr: string): boolean => code === busy && stderr.includes('xtables lock')
/** Family, variant and network namespace → the update that was asked for last. */
const updates = new Map<string, Promise<unknown>>()

export function createIptables({ family, variant, name }: IptablesTool, netns?: string): Iptables {
  const run = (program: string, args: readonly string[]): Promise<ProgramResult> => runProgram(program, args, { netns })
  const restore = async (text: RestoreText): Promise<void> => {
    const pieces = typeof text === 'string' ? [text] : text
    const args = [...wait, '--noflush', '--counters']
    const { code, stderr } = await runProgram(`${name}-restore`, args, { netns, input: pieces })
    if (code === 0) return
    const told = `${name}-restore failed with ${code}: ${await inSlices(explainInTurn(stderr, pieces))}`
    throw isLocked(code, stderr) ? new LockedIptables(told) : new Error(told)
  }
  const save = async (table?: string): Promise<SavedTables> => {
    // The legacy program makes a table that it is asked for by name.
    const present = variant === 'legacy' ? legacyTables(family, netns) : undefined
    if (present && !(table === undefined ? present.length > 0 : present.includes(table))) return new Map()
    const reader = createSavedReader()
    const args = table === undefined ? [] : ['-t', table]
    const { code, stderr } = await runProgram(`${name}-save`, args, { netns, onOutput: reader.add })
    if (code !== 0) throw new Error(`${name}-save failed with ${code}: ${stderr.trim()}`)
    return reader.end()
  }
  return {
    family,
    variant,
    randomFully: true,
    restore,
    save,
    update: async (textsOf) => {
      const key = `${family} ${variant} ${netns}`
      const update = (updates.get(key) ?? Promise.resolve()).then(async () => {
        for (const text of await textsOf(await save())) if (text.length > 0) await restore(text)
      })
      // Who asked for it hears of its failure; the next one only waits for its end.
      const quiet = update.catch(() => undefined)
      updates.set(key, quiet)
      await update
    },
    saveChains: async (table, chains) => {
      // This program reads the whole table for a single chain, too.
      if (variant === 'legacy') return save(table)
      const reader = createSavedReader()
      reader.add(`*${table}\n`)
      for (const chain of chains) {
        const { code } = await runProgram(name, [...wait, '-S', chain, '-t', table], { netns, onOutput: reader.add })
        if (code === busy) return undefined
      }
      return reader.end()
    },
    hasChain: async (table, chain) => {
      const { code } = await run(name, [...wait, '-S', chain, '-t', table])
      return code === busy ? undefined : code === 0
    },
    probe: async () => {
      const { code, stderr } = await run(name, [...wait, '-S', 'POSTROUTING', '-t', 'nat'])
      if (code === 0 || isLocked(code, stderr)) return
      const text = `${name} cannot read the nat table (${stderr.trim()}): needs root and the nat table`
      throw code === busy ? new Error(text) : new UnusableIptables(text)
    },
  }
}

/** Tables that the legacy interface has in a network namespace; those not used yet are not there. */
function legacyTables(family: IPFamily, netns: string | undefined): string[] {
  const file = family === 'IPv4' ? 'ip_tables_names' : 'ip6_tables_names'
  try {
    const text = inNetns(netns, () => readFileSync(`/proc/thread-self/net/${file}`, 'utf8'))
    return text.split('\n').filter((line) => line !== '')
  } catch {
    // The kernel has no such interface.
    return []
  }
}

/** Lines before and after the one that was refused. */
const linesAround = 3

/** What iptables-restore said, with the lines around the one that it names. */
function* explainInTurn(stderr: string, pieces: readonly TextPiece[]): Steps<string> {
  const said = stderr.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('Try `'))
  const refused = Number(/line:? (\d+)/.exec(stderr)?.[1] ?? 0)
  const near: string[] = []
  let number = 0
  for (const piece of refused > 0 ? pieces : []) {
    for (const line of pieceText(piece).trimEnd().split('\n')) {
      number += 1
      if (Math.abs(number - refused) <= linesAround) near.push(`${number === refused ? '>' : ' '} ${number}: ${line}`)
    }
    yield
  }
  return [...said, ...near].join('\n')
}
