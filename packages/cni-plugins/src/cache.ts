// What is owed on disk: written before an ADD starts, removed when its DEL has succeeded.
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { CniResult, NetworkList, PodNetwork } from './types.ts'

/** One attachment: begun, and done when it has a result. */
export interface Attachment {
  network: PodNetwork
  list: NetworkList
  result?: CniResult
}

export interface Attachments {
  save(attachment: Attachment): Promise<void>
  find(containerId: string, ifName: string): Promise<Attachment | undefined>
  remove(attachment: Attachment): Promise<void>
  all(): Promise<Attachment[]>
}

export function openAttachments(cacheDir: string): Attachments {
  const folder = join(cacheDir, 'attachments')
  const fileOf = (containerId: string, ifName: string): string => join(folder, `${containerId}-${ifName}.json`)
  const resultFile = ({ list, network }: Attachment): string =>
    join(cacheDir, 'results', `${list.name}-${network.containerId}-${network.ifName}`)
  const read = async (path: string): Promise<Attachment | undefined> => {
    try {
      return JSON.parse(await readFile(path, 'utf8')) as Attachment
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw new Error(`${path}: ${(error as Error).message}`, { cause: error })
    }
  }
  return {
    save: async (attachment) => {
      const { network, list, result } = attachment
      await write(fileOf(network.containerId, network.ifName), attachment)
      // Where other tools look for results, in libcni's format.
      if (result) {
        await write(resultFile(attachment), {
          kind: 'cniCacheV1',
          containerId: network.containerId,
          config: Buffer.from(JSON.stringify(list)).toString('base64'),
          ifName: network.ifName,
          networkName: list.name,
          netns: network.netns,
          result,
        })
      }
    },
    find: async (containerId, ifName) => read(fileOf(containerId, ifName)),
    remove: async (attachment) => {
      await rm(resultFile(attachment), { force: true })
      await rm(fileOf(attachment.network.containerId, attachment.network.ifName), { force: true })
    },
    all: async () => {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const names = (await readdir(folder)).filter((name) => name.endsWith('.json'))
      const found = await Promise.all(names.map(async (name) => read(join(folder, name))))
      return found.filter((attachment) => attachment !== undefined)
    },
  }
}

async function write(path: string, value: unknown): Promise<void> {
  await mkdir(join(path, '..'), { recursive: true, mode: 0o700 })
  const temporary = `${path}.tmp`
  {
    await using file = await open(temporary, 'w', 0o600)
    await file.writeFile(JSON.stringify(value))
    await file.sync()
  }
  await rename(temporary, path)
}
