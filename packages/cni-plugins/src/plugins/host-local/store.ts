// Who has which address: one file per address, in the format of the reference plugin. As there, nothing is synced: after
// a power cut the pods are gone, too.
import { linkSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isAddress } from '../../fields.ts'
import type { AttachmentKey } from '../../types.ts'

/** The addresses of one network. Each call is a few on small files, at once: turns of a thread would take far longer. */
export interface AddressStore {
  isFree(address: string): boolean
  /** False when another has it already. */
  take(address: string, containerId: string, ifName: string): boolean
  last(set: number): string | undefined
  setLast(set: number, address: string): void
  owned(containerId: string, ifName: string): string[]
  release(addresses: readonly string[]): void
  /** Frees what belongs to none of these. */
  releaseOthers(owners: readonly AttachmentKey[]): void
}

/** What the files of a folder say, at one state of it: to read them all for each pod would take longer with each pod. */
interface Owners {
  changedAt: bigint
  by: Map<string, string>
}
const known = new Map<string, Owners>()

/**
 * Files are the truth; what they said is kept as long as the folder is as this process left it.
 *
 * @param folder which exists and whose lock is held
 */
export function withAddresses<Value>(folder: string, work: (store: AddressStore) => Value): Value {
  const names = readdirSync(folder)
  const by = ownersIn(folder, names.filter(isAddress))
  known.delete(folder)
  try {
    // Left by a process that was killed as it wrote: nobody else has the lock.
    for (const name of names) if (isAside(name)) rmSync(join(folder, name), { force: true })
    return work(storeOf(folder, by))
  } finally {
    // A file that is empty is being written by a program that takes no lock.
    if (![...by.values()].includes('')) known.set(folder, { changedAt: changeOf(folder), by })
  }
}

const changeOf = (folder: string): bigint => statSync(folder, { bigint: true }).mtimeNs

function ownersIn(folder: string, names: readonly string[]): Map<string, string> {
  const { changedAt, by } = known.get(folder) ?? {}
  const isSame = changedAt === changeOf(folder) && by?.size === names.length && names.every((name) => by.has(name))
  if (isSame) return by
  return new Map(
    names.flatMap((name) => {
      const content = contentOf(join(folder, name))
      return content === undefined ? [] : [[name, content] as const]
    }),
  )
}

function storeOf(folder: string, by: Map<string, string>): AddressStore {
  const owner = (containerId: string, ifName: string): string => `${containerId}\r\n${ifName}`
  const release = (addresses: readonly string[]): void => {
    for (const address of addresses) {
      rmSync(join(folder, address), { force: true })
      by.delete(address)
    }
  }
  return {
    isFree: (address) => !by.has(address),
    take: (address, containerId, ifName) => {
      // Written aside and then linked: the file is there whole or not at all, and never twice.
      const aside = join(folder, `.${address}-${containerId}`)
      try {
        writeFileSync(aside, owner(containerId, ifName), { mode: 0o600 })
        linkSync(aside, join(folder, address))
        by.set(address, owner(containerId, ifName))
        return true
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
        by.set(address, contentOf(join(folder, address)) ?? '')
        return false
      } finally {
        rmSync(aside, { force: true })
      }
    },
    last: (set) => {
      // None yet, or another program is just writing it: only the order suffers.
      const last = contentOf(join(folder, `last_reserved_ip.${set}`))
      return last !== undefined && isAddress(last) ? last : undefined
    },
    setLast: (set, address) => {
      const aside = join(folder, `.last_reserved_ip.${set}-${process.pid}`)
      writeFileSync(aside, address)
      renameSync(aside, join(folder, `last_reserved_ip.${set}`))
    },
    owned: (containerId, ifName) => {
      const own = [owner(containerId, ifName), containerId]
      return [...by].filter(([, content]) => own.includes(content)).map(([address]) => address)
    },
    release,
    releaseOthers: (owners) => {
      const valid = new Set(owners.flatMap(({ containerId, ifName }) => [owner(containerId, ifName), containerId]))
      const stale = [...by].filter(([, content]) => content !== '' && !valid.has(content))
      release(stale.map(([address]) => address))
    },
  }
}

const isAside = (name: string): boolean =>
  name.startsWith('.last_reserved_ip.') || isAddress(/^\.([^-]*)-/.exec(name)?.[1] ?? '')

/** How long a file may be empty while another program writes it, in milliseconds. */
const writingMs = 60_000

/** Undefined when another program has just removed it. One that a crash left empty belongs to nobody, and goes. */
function contentOf(path: string): string | undefined {
  try {
    const content = readFileSync(path, 'utf8').trim()
    if (content !== '' || statSync(path).mtimeMs >= Date.now() - writingMs) return content
    rmSync(path, { force: true })
    return undefined
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
