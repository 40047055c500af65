// Who has which address: one file per address, in the format of the reference plugin.
import { link, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
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
      await writeFile(aside, owner(containerId, ifName), { mode: 0o600 })
      try {
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
        if (isIP(name) === 0) continue
        const content = (await readFile(join(folder, name), 'utf8')).trim()
        if (content === owner(containerId, ifName) || content === containerId) found.push(name)
      }
      return found
    },
    release: async (addresses) => {
      for (const address of addresses) await rm(join(folder, address), { force: true })
    },
  }
}
