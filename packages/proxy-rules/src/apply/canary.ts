// A chain in each table that is made only to be missed when somebody flushes the rules.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Iptables } from './iptables-restore.ts'

/** A flush of all tables takes at most this long, in milliseconds. */
const flushMs = 5000
const flushStepMs = 100
const tables = ['mangle', 'nat', 'filter']

/** The text for iptables-restore that makes it. */
export const canaryText = (chain: string): string =>
  tables.map((table) => `*${table}\n:${chain} - [0:0]\nCOMMIT\n`).join('')

/**
 * Whether somebody has flushed any of the tables. Who does goes from table to table, so this then waits until it is missing in all
 * of them, 5 s at most: rules that are loaded in between would be flushed, or in the way.
 */
export async function wasFlushed(iptables: Iptables, chain: string): Promise<boolean> {
  if (!(await isMissing(iptables, chain))) return false
  const end = Date.now() + flushMs
  for (const table of tables) {
    while (Date.now() < end && (await iptables.hasChain(table, chain)) !== false) await sleep(flushStepMs)
  }
  return true
}

async function isMissing(iptables: Iptables, chain: string): Promise<boolean> {
  for (const table of tables) if ((await iptables.hasChain(table, chain)) === false) return true
  return false
}
