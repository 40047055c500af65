// What a link was like before: one file for each attachment, in the format of the reference plugin.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { hardwareAddress, u32 } from '../../fields.ts'
import type { AttachmentKey } from '../../types.ts'

/** Only what was changed. */
export interface Backup {
  mac?: string | undefined
  promisc?: boolean | undefined
  mtu?: number | undefined
  allmulti?: boolean | undefined
  txQLen?: number | undefined
  /** The network's name, which the reference plugin does not note. */
  network?: string | undefined
}
const schema: z.ZodType<Backup> = z.object({
  mac: hardwareAddress.optional(),
  promisc: z.boolean().optional(),
  mtu: u32.optional(),
  allmulti: z.boolean().optional(),
  txQLen: u32.optional(),
  network: z.string().optional(),
})

const nameOf = ({ containerId, ifName }: AttachmentKey): string => `${containerId}_${ifName}.json`

/** The first stays: what is found later may be what an ADD that was cut off made. */
export function saveBackup(folder: string, key: AttachmentKey, backup: Backup): void {
  const file = join(folder, nameOf(key))
  if (existsSync(file)) return
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const aside = join(folder, `.${nameOf(key)}`)
  writeFileSync(aside, JSON.stringify(backup, undefined, 1), { mode: 0o600 })
  renameSync(aside, file)
}

/** Undefined when there is none that can be read. */
export function readBackup(folder: string, key: AttachmentKey): Backup | undefined {
  return readFile(join(folder, nameOf(key)))
}

function readFile(file: string): Backup | undefined {
  try {
    return schema.safeParse(JSON.parse(readFileSync(file, 'utf8'))).data
  } catch {
    return undefined // not there, or cut off: then there is nothing to restore
  }
}

export const removeBackup = (folder: string, key: AttachmentKey): void =>
  rmSync(join(folder, nameOf(key)), { force: true })

/** Removes those of the network that belong to none of these. */
export function removeOtherBackups(folder: string, network: string, valid: readonly AttachmentKey[]): void {
  if (!existsSync(folder)) return
  const kept = new Set(valid.map(nameOf))
  for (const name of readdirSync(folder)) {
    if (!name.endsWith('.json') || kept.has(name)) continue
    if (readFile(join(folder, name))?.network === network) rmSync(join(folder, name), { force: true })
  }
}
