// Blobs by digest: written whole, checked while they come, and only then in place.
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import { algorithmOf, algorithms, digestPattern, hasherLike, hexOf } from './digest.ts'
import { isMissing, syncFolder } from './files.ts'
import type { Descriptor } from './image/manifest.ts'
import { crashPoint } from './crash-points.ts'

/** What came is not what its name says. */
export class CorruptError extends CriError {
  constructor(message: string) {
    super('UNKNOWN', message)
  }
}

/** The blobs below one folder. */
export interface ContentStore {
  has(digest: string): Promise<boolean>
  /** @throws CriError when it is not here */
  read(digest: string): Promise<Buffer>
  pathOf(digest: string): string
  /**
   * Stores what the stream gives, which begins at an offset: what an interrupted write brought is not asked for again.
   * @throws CorruptError when it is not what the descriptor says, and nothing is kept; the stream's errors, and then
   *   what came so far is kept for a day
   */
  write(
    expected: Pick<Descriptor, 'digest' | 'size'>,
    chunksFrom: (offset: number) => AsyncIterable<Uint8Array>,
    onBytes?: (done: number) => void,
  ): Promise<void>
  remove(digest: string): Promise<void>
  list(): Promise<string[]>
  /** Removes what interrupted writes left a day ago. */
  sweep(): Promise<void>
}

const longestIngestMs = 24 * 3_600_000

/** Opens the store. */
export async function openContent(root: string): Promise<ContentStore> {
  const folderOf = (algorithm: string): string => join(root, 'blobs', algorithm)
  const incoming = join(root, 'incoming')
  const folders = [...algorithms.map(folderOf), incoming]
  await Promise.all(folders.map((folder) => mkdir(folder, { recursive: true, mode: 0o700 })))
  const pathOf = (digest: string): string => join(folderOf(algorithmOf(digest)), hexOf(digest))
  /** By digest: two writers would spoil each other's file. */
  const writing = new Map<string, Promise<void>>()

  const has = async (digest: string): Promise<boolean> => {
    try {
      await stat(pathOf(digest))
      return true
    } catch (error) {
      if (isMissing(error)) return false
      throw error
    }
  }

  const receiveAs = async (
    { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
    chunksFrom: (offset: number) => AsyncIterable<Uint8Array>,
    onBytes: (done: number) => void,
  ): Promise<void> => {
    if (await has(digest)) return
    const partial = join(incoming, incomingName(digest))
    try {
      await receive(partial, { digest, size }, chunksFrom, onBytes)
    } catch (error) {
      if (error instanceof CorruptError) await rm(partial, { force: true })
      throw error
    }
    crashPoint('image/blob-written')
    await rename(partial, pathOf(digest))
    crashPoint('image/blob-stored')
    await syncFolder(folderOf(algorithmOf(digest)))
  }

  const sweep = async (): Promise<void> => {
    for (const name of await readdir(incoming)) {
      const path = join(incoming, name)
      const digest = digestOf(name)
      const isOurs = digestPattern.test(digest)
      if (isOurs && writing.has(digest)) continue
      if (!isOurs || (await stat(path)).mtimeMs < Date.now() - longestIngestMs) await rm(path, { force: true })
    }
  }
  await sweep()

  return {
    pathOf,
    has,
    sweep,
    read: async (digest) => {
      try {
        return await readFile(pathOf(digest))
      } catch (error) {
        throw new CriError('NOT_FOUND', `blob ${digest} is not in the content store`, { cause: error })
      }
    },
    write: async (expected, chunksFrom, onBytes = () => undefined) => {
      const { digest } = expected
      // After the one before, however that ended: its own caller is told.
      const before = Promise.allSettled([writing.get(digest)])
      const work = before.then(async () => receiveAs(expected, chunksFrom, onBytes))
      writing.set(digest, work)
      try {
        await work
      } finally {
        if (writing.get(digest) === work) writing.delete(digest)
      }
    },
    remove: async (digest) => rm(pathOf(digest), { force: true }),
    list: async () => {
      const each = async (algorithm: string): Promise<string[]> =>
        (await readdir(folderOf(algorithm))).map((name) => `${algorithm}:${name}`)
      return (await Promise.all(algorithms.map(each))).flat()
    },
  }
}

/** The algorithm of most goes without saying. */
const incomingName = (digest: string): string => digest.replace(/^sha256:/, '').replace(':', '-')
const digestOf = (name: string): string => (name.includes('-') ? name.replace('-', ':') : `sha256:${name}`)

/** Chunks of a network are small: hashing one does not hold up the others. */
async function receive(
  path: string,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
  chunksFrom: (offset: number) => AsyncIterable<Uint8Array>,
  onBytes: (done: number) => void,
): Promise<void> {
  const hash = hasherLike(digest)
  await using file = await open(path, 'a', 0o600)
  let done = 0
  for await (const chunk of chunksOf(path)) {
    hash.update(chunk)
    done += chunk.length
  }
  if (done < size || size === 0) {
    for await (const chunk of chunksFrom(done)) {
      done += chunk.length
      if (done > size) throw new CorruptError(`blob ${digest}: more than the ${size} bytes that its manifest says`)
      hash.update(chunk)
      await file.writeFile(chunk)
      crashPoint('image/blob-partial')
      onBytes(done)
    }
  }
  if (done !== size) throw new CorruptError(`blob ${digest}: ${done} bytes came, its manifest says ${size}`)
  const got = hash.digest()
  if (got !== digest) throw new CorruptError(`blob ${digest} is corrupt: its content has digest ${got}`)
  await file.sync()
}

/** A file as chunks, from an offset. */
export const chunksOf = (path: string, from = 0): AsyncIterable<Uint8Array> => createReadStream(path, { start: from })
