// Leases on disk, for the next life of whoever holds them.
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { checked, parsedJson } from '../../checked.ts'
import { address, hardwareAddress, path, prefix, u32 } from '../../fields.ts'
import type { CniLog } from '../../types.ts'
import type { Lease } from './lease.ts'
import { option } from './message.ts'
import type { HeldLease, LeaseRequest } from './leases.ts'

const time = z.number().nullable()
const number = u32.optional()
const code = z
  .number()
  .int()
  .min(option.pad + 1)
  .max(option.end - 1)
/** Also of what the daemon answers. */
export const leaseSchema: z.ZodType<Lease> = z
  .object({
    address: prefix,
    gateway: address.optional(),
    routes: z.array(z.object({ dst: prefix, gw: address.optional(), scope: number, priority: number })),
    server: z.object({ address, mac: hardwareAddress }),
    renewMs: time,
    rebindMs: time,
    expireMs: time,
  })
  .transform((value) => value as Lease)
/** Also of what the daemon is asked. */
export const requestSchema: z.ZodType<LeaseRequest> = z.object({
  network: z.string(),
  containerId: z.string(),
  ifName: z.string(),
  netns: path,
  provide: z.array(z.object({ code, value: z.string() })),
  request: z.array(code),
})
const heldSchema: z.ZodType<HeldLease> = z.object({ request: requestSchema, link: u32, lease: leaseSchema })

export interface LeaseRecords {
  all(): Promise<HeldLease[]>
  save(name: string, held: HeldLease): Promise<void>
  remove(name: string): Promise<void>
}

const ending = '.json'

export function openRecords(folder: string, log: CniLog): LeaseRecords {
  const fileOf = (name: string): string =>
    join(folder, `${createHash('sha256').update(name).digest('hex').slice(0, 32)}${ending}`)
  return {
    all: async () => {
      const held: HeldLease[] = []
      for (const name of await namesIn(folder)) {
        const file = join(folder, name)
        try {
          held.push(checked(file, heldSchema, parsedJson(file, await readFile(file, 'utf8'))))
        } catch (error) {
          log.warn({ path: file, err: error as Error }, 'a DHCP lease cannot be read, and is forgotten')
          await rm(file, { force: true })
        }
      }
      return held
    },
    save: async (name, held) => {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const file = fileOf(name)
      await writeFile(`${file}.new`, JSON.stringify(held), { mode: 0o600 })
      await rename(`${file}.new`, file)
    },
    remove: async (name) => rm(fileOf(name), { force: true }),
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => name.endsWith(ending))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
