// What is owed on disk: written before an ADD starts, removed when its DEL has succeeded.
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir, open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { toVersion } from './result.ts'
import type { CniLog, CniResult, NetworkList, PodNetwork } from './types.ts'

/** One attachment: begun, and done when it has a result. */
export interface Attachment {
  network: PodNetwork
  list: NetworkList
  result?: CniResult
}

/** What tells attachments apart. */
export interface AttachmentKey {
  containerId: string
  ifName: string
}

export interface Attachments {
  save(attachment: Attachment): Promise<void>
  /** Undefined when there is none; what cannot be read counts as none and is told of. */
  find(key: AttachmentKey): Promise<Attachment | undefined>
  /** Fine when there is none. */
  remove(key: AttachmentKey, networkName: string): Promise<void>
  keys(): Promise<AttachmentKey[]>
}

export function openAttachments(cacheDir: string, log: CniLog): Attachments {
  const folder = join(cacheDir, 'attachments')
  const results = join(cacheDir, 'results')
  const fileOf = ({ containerId, ifName }: AttachmentKey): string => join(folder, `${containerId}-${ifName}.json`)
  const resultFile = ({ containerId, ifName }: AttachmentKey, name: string): string =>
    join(results, `${name}-${containerId}-${ifName}`)
  const read = async (path: string): Promise<Attachment | undefined> => {
    let content: string
    try {
      content = await readFile(path, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
    try {
      return parseAttachment(content)
    } catch (error) {
      log.warn({ path, err: error as Error }, 'a record of a pod network cannot be read')
      return undefined
    }
  }
  return {
    save: async (attachment) => {
      const { network, list, result } = attachment
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      await write(fileOf(network), attachment, { durable: true })
      // Where other tools look for results, in libcni's format.
      if (result) {
        mkdirSync(results, { recursive: true, mode: 0o700 })
        const cached = {
          kind: 'cniCacheV1',
          containerId: network.containerId,
          config: Buffer.from(JSON.stringify(list)).toString('base64'),
          ifName: network.ifName,
          networkName: list.name,
          netns: network.netns,
          ...((network.portMappings || network.capabilityArgs) && {
            capabilityArgs: {
              ...network.capabilityArgs,
              ...(network.portMappings && { portMappings: network.portMappings }),
            },
          }),
          result: toVersion(result, list.cniVersion),
        }
        await write(resultFile(network, list.name), cached, { durable: false })
      }
    },
    find: async (key) => read(fileOf(key)),
    remove: async (key, networkName) => {
      for (const path of [resultFile(key, networkName), fileOf(key)]) {
        rmSync(`${path}.tmp`, { force: true }) // of a process that was killed as it wrote
        rmSync(path, { force: true })
      }
    },
    keys: async () => {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const names = (await readdir(folder)).filter((name) => name.endsWith('.json'))
      return Promise.all(
        names.map(async (name) => {
          const found = await read(join(folder, name))
          if (found) return { containerId: found.network.containerId, ifName: found.network.ifName }
          const [, containerId = '', ifName = ''] = /^(.*)-([^-]*)\.json$/.exec(name) ?? []
          return { containerId, ifName }
        }),
      )
    },
  }
}

function parseAttachment(content: string): Attachment {
  const { network, list, result } = JSON.parse(content) as Partial<Attachment>
  if (!network?.containerId || !network.ifName || !Array.isArray(list?.plugins)) throw new TypeError('not complete')
  return { network, list, ...(result && { result }) }
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
