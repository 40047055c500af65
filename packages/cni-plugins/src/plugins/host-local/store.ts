// Who has which address: one file per address, in the format of the reference plugin.
import { link, mkdir, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { join } from 'node:path'

/** The addresses of one network. */
export interface AddressStore {
  taken(): Promise<Set<string>>
  /** False when another has it already. */
  take(address: string, containerId: string, ifName: string): Promise<boolean>
  last(set: number): Promise<string | undefined>
  setLast(set: number, address: string): Promise<void>
  owned(containerId: string, ifName: string): Promise<string[]>
  release(addresses: readonly string[]): Promise<void>
}

export function openAddressStore(folder: string): AddressStore {
  const names = async (): Promise<string[]> => {
    await mkdir(folder, { recursive: true, mode: 0o755 })
    return readdir(folder)
  }
  const owner = (containerId: string, ifName: string): string => `${containerId}\r\n${ifName}`
  return {
    taken: async () => new Set((await names()).filter((name) => isIP(name) !== 0)),
    take: async (address, containerId, ifName) => {
      // Written aside and then linked: the file is there whole or not at all, and never twice.
      const aside = join(folder, `.${address}-${containerId}`)
      try {
        await using file = await open(aside, 'w', 0o600)
        await file.writeFile(owner(containerId, ifName))
        await file.sync()
        await link(aside, join(folder, address))
        return true
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
        throw error
      } finally {
        await rm(aside, { force: true })
      }
    },
    last: async (set) => {
      try {
        return (await readFile(join(folder, `last_reserved_ip.${set}`), 'utf8')).trim()
      } catch {
        return undefined // the first allocation, or a file that was cut off: only the order suffers
      }
    },
    setLast: async (set, address) => writeFile(join(folder, `last_reserved_ip.${set}`), address),
    owned: async (containerId, ifName) => {
      const found: string[] = []
      for (const name of await names()) {
        if (name.startsWith('.') && name.endsWith(`-${containerId}`)) await rm(join(folder, name), { force: true })
        if (isIP(name) === 0) continue
        const content = await contentOf(join(folder, name))
        if (content === owner(containerId, ifName) || content === containerId) found.push(name)
      }
      return found
    },
    release: async (addresses) => {
      for (const address of addresses) await rm(join(folder, address), { force: true })
    },
  }
}

/** How long a file may be empty while another program writes it, in milliseconds. */
const writingMs = 60_000

/** Undefined when another program has just removed it. One that a crash left empty belongs to nobody, and goes. */
async function contentOf(path: string): Promise<string | undefined> {
  try {
    const content = (await readFile(path, 'utf8')).trim()
    if (content === '' && (await stat(path)).mtimeMs < Date.now() - writingMs) await rm(path, { force: true })
    return content
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
