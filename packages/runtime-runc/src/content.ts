// Blobs by digest: written whole, checked while they come, and only then in place.
import { createHash, randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import { isMissing, syncFolder } from './files.ts'
import type { Descriptor } from './image/manifest.ts'
import { crashPoint } from './crash-points.ts'

/** The blobs below one folder. */
export interface ContentStore {
  has(digest: string): Promise<boolean>
  /** @throws CriError when it is not here */
  read(digest: string): Promise<Buffer>
  pathOf(digest: string): string
  /**
   * Stores what the stream gives.
   * @throws CriError when it is not what the descriptor says; nothing is kept then
   */
  write(
    expected: Pick<Descriptor, 'digest' | 'size'>,
    chunks: AsyncIterable<Uint8Array>,
    onBytes?: (done: number) => void,
  ): Promise<void>
  remove(digest: string): Promise<void>
  list(): Promise<string[]>
}

export const sha256 = (content: Uint8Array): string => `sha256:${createHash('sha256').update(content).digest('hex')}`

/** Opens the store; what a crash left half-written is removed. */
export async function openContent(root: string): Promise<ContentStore> {
  const blobs = join(root, 'blobs/sha256')
  const incoming = join(root, 'incoming')
  await rm(incoming, { recursive: true, force: true })
  await Promise.all([blobs, incoming].map((folder) => mkdir(folder, { recursive: true, mode: 0o700 })))
  const pathOf = (digest: string): string => join(blobs, digest.slice('sha256:'.length))
  return {
    pathOf,
    has: async (digest) => {
      try {
        await stat(pathOf(digest))
        return true
      } catch (error) {
        if (isMissing(error)) return false
        throw error
      }
    },
    read: async (digest) => {
      try {
        return await readFile(pathOf(digest))
      } catch (error) {
        throw new CriError('NOT_FOUND', `blob ${digest} is not in the content store`, { cause: error })
      }
    },
    write: async ({ digest, size }, chunks, onBytes = () => undefined) => {
      const temporary = join(incoming, randomUUID())
      try {
        await receive(temporary, { digest, size }, chunks, onBytes)
        crashPoint('image/blob-written')
        await rename(temporary, pathOf(digest))
        crashPoint('image/blob-stored')
      } catch (error) {
        await rm(temporary, { force: true })
        throw error
      }
      await syncFolder(blobs)
    },
    remove: async (digest) => rm(pathOf(digest), { force: true }),
    list: async () => (await readdir(blobs)).map((name) => `sha256:${name}`),
  }
}

/** Chunks of a network are small: hashing one does not hold up the others. */
async function receive(
  path: string,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
  chunks: AsyncIterable<Uint8Array>,
  onBytes: (done: number) => void,
): Promise<void> {
  const hash = createHash('sha256')
  let done = 0
  await using file = await open(path, 'wx', 0o600)
  for await (const chunk of chunks) {
    done += chunk.length
    if (done > size) throw new CriError('UNKNOWN', `blob ${digest}: more than the ${size} bytes that its manifest says`)
    hash.update(chunk)
    await file.writeFile(chunk)
    crashPoint('image/blob-partial')
    onBytes(done)
  }
  if (done !== size) throw new CriError('UNKNOWN', `blob ${digest}: ${done} bytes came, its manifest says ${size}`)
  const got = `sha256:${hash.digest('hex')}`
  if (got !== digest) throw new CriError('UNKNOWN', `blob ${digest} is corrupt: its content has digest ${got}`)
  await file.sync()
}

/** A file as chunks. */
export const chunksOf = (path: string): AsyncIterable<Uint8Array> => createReadStream(path)
