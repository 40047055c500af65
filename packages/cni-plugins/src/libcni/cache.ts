// What is owed on disk: written before an ADD starts, removed when its DEL has succeeded. And results where other tools
// look for them.
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir, open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { AttachmentKey, CniLog, CniResult, NetworkList, PodNetwork } from '../types.ts'
import { parseAttachment } from './attachment-record.ts'
import { cachedResult, parseCachedResult } from './cached-result.ts'

/** One attachment: begun, and done when it has a result. */
export interface Attachment {
  network: PodNetwork
  list: NetworkList
  result?: CniResult
}

export interface Attachments {
  save(attachment: Attachment): Promise<void>
  /**
   * Undefined when there is none; what cannot be read counts as none and is told of.
   *
   * @param networkName where to look for a result that libcni kept, when there is no record of ours
   */
  find(key: AttachmentKey, networkName?: string): Promise<Attachment | undefined>
  /** Fine when there is none. */
  remove(key: AttachmentKey, networkName: string): Promise<void>
  /** Of all that is on record. Nothing may be written meanwhile: what a process left that was killed as it wrote is removed. */
  keys(): Promise<AttachmentKey[]>
}

export function openAttachments(cacheDir: string, log: CniLog): Attachments {
  const folder = join(cacheDir, 'attachments')
  const results = join(cacheDir, 'results')
  const fileOf = ({ containerId, ifName }: AttachmentKey): string => join(folder, `${containerId}-${ifName}.json`)
  const resultFile = ({ containerId, ifName }: AttachmentKey, name: string): string =>
    join(results, `${name}-${containerId}-${ifName}`)
  const read = async (
    path: string,
    parse: (content: string, path: string) => Attachment,
  ): Promise<Attachment | undefined> => {
    let content: string
    try {
      content = await readFile(path, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
    try {
      return parse(content, path)
    } catch (error) {
      log.warn({ path, err: error as Error }, 'a record of a pod network cannot be read')
      return undefined
    }
  }
  return {
    save: async (attachment) => {
      const { network, list, result } = attachment
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      // The intent must outlive a power cut, since addresses do; that its result is lost there costs nothing.
      await write(fileOf(network), attachment, { durable: !result })
      if (!result) return
      mkdirSync(results, { recursive: true, mode: 0o700 })
      await write(resultFile(network, list.name), cachedResult(network, list, result), { durable: false })
    },
    find: async (key, networkName) => {
      const own = await read(fileOf(key), parseAttachment)
      if (own || networkName === undefined) return own
      return read(resultFile(key, networkName), parseCachedResult)
    },
    remove: async (key, networkName) => {
      for (const path of [resultFile(key, networkName), fileOf(key)]) {
        rmSync(`${path}.tmp`, { force: true }) // of a process that was killed as it wrote
        rmSync(path, { force: true })
      }
    },
    keys: async () => {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const names = await readdir(folder)
      for (const name of names) if (name.endsWith('.json.tmp')) rmSync(join(folder, name), { force: true })
      return Promise.all(
        names
          .filter((name) => name.endsWith('.json'))
          .map(async (name) => {
            const found = await read(join(folder, name), parseAttachment)
            if (found) return { containerId: found.network.containerId, ifName: found.network.ifName }
            const [, containerId = '', ifName = ''] = /^(.*)-([^-]*)\.json$/.exec(name) ?? []
            return { containerId, ifName }
          }),
      )
    },
  }
}

/** Written aside and renamed: whole or not there. */
async function write(path: string, value: unknown, { durable }: { durable: boolean }): Promise<void> {
  const temporary = `${path}.tmp`
  writeFileSync(temporary, JSON.stringify(value), { mode: 0o600 })
  if (durable) {
    await using file = await open(temporary, 'r+')
    await file.sync()
  }
  renameSync(temporary, path)
}
