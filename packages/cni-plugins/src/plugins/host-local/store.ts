// Who has which address: one file per address, in the format of the reference plugin. As there, nothing is synced: after
// a power cut the pods are gone, too.
import { linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addressFamily } from '@nodelet/linux'
import type { AttachmentKey } from '../../types.ts'

/** The addresses of one network. Each call is a few on small files, at once: turns of a thread would take far longer. */
export interface AddressStore {
  taken(): Set<string>
  /** False when another has it already. */
  take(address: string, containerId: string, ifName: string): boolean
  last(set: number): string | undefined
  setLast(set: number, address: string): void
  /** With `likely` a look at those is enough when all are its own; else at all files. */
  owned(containerId: string, ifName: string, likely?: readonly string[]): string[]
  release(addresses: readonly string[]): void
  /** Frees what belongs to none of these. */
  releaseOthers(owners: readonly AttachmentKey[]): void
}

export function openAddressStore(folder: string): AddressStore {
  const names = (): string[] => {
    mkdirSync(folder, { recursive: true, mode: 0o755 })
    return readdirSync(folder)
  }
  const owner = (containerId: string, ifName: string): string => `${containerId}\r\n${ifName}`
  const release = (addresses: readonly string[]): void =>
    addresses.forEach((address) => rmSync(join(folder, address), { force: true }))
  return {
    taken: () => new Set(names().filter((name) => isAddress(name))),
    take: (address, containerId, ifName) => {
      // Written aside and then linked: the file is there whole or not at all, and never twice.
      const aside = join(folder, `.${address}-${containerId}`)
      try {
        writeFileSync(aside, owner(containerId, ifName), { mode: 0o600 })
        linkSync(aside, join(folder, address))
        return true
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
        throw error
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
    owned: (containerId, ifName, likely = []) => {
      const isOwn = (address: string): boolean => {
        const content = !isAddress(address) ? undefined : contentOf(join(folder, address))
        return content === owner(containerId, ifName) || content === containerId
      }
      if (likely.length > 0 && likely.every(isOwn)) return [...likely]
      const found: string[] = []
      for (const name of names()) {
        if (name.startsWith('.') && name.endsWith(`-${containerId}`)) rmSync(join(folder, name), { force: true })
        if (isOwn(name)) found.push(name)
      }
      return found
    },
    release,
    releaseOthers: (owners) => {
      const valid = new Set(owners.flatMap(({ containerId, ifName }) => [owner(containerId, ifName), containerId]))
      const isStale = (name: string): boolean => {
        const content = !isAddress(name) ? undefined : contentOf(join(folder, name))
        return Boolean(content) && !valid.has(content ?? '') // one that is empty is being written
      }
      release(names().filter(isStale))
    },
  }
}

const isAddress = (name: string): boolean => addressFamily(name) !== undefined

/** How long a file may be empty while another program writes it, in milliseconds. */
const writingMs = 60_000

/** Undefined when another program has just removed it. One that a crash left empty belongs to nobody, and goes. */
function contentOf(path: string): string | undefined {
  try {
    const content = readFileSync(path, 'utf8').trim()
    if (content === '' && statSync(path).mtimeMs < Date.now() - writingMs) rmSync(path, { force: true })
    return content
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
