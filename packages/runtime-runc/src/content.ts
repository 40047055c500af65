// Blobs by digest: written whole, checked while they come, and only then in place.
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import { algorithmOf, algorithms, digestPattern, endOf, hashLike, hexOf } from './digest.ts'
import { isFull, isMissing, syncFolder } from './files.ts'
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
   *   what came so far is kept for a day, but not when the disk is full
   */
  write(
    expected: Pick<Descriptor, 'digest' | 'size'>,
    chunksFrom: (offset: number) => AsyncIterable<Uint8Array>,
    onBytes?: (done: number) => void,
  ): Promise<void>
  remove(digest: string): Promise<void>
  list(): Promise<string[]>
  /** Removes what interrupted writes left so many milliseconds ago. Default: a day. What is being written stays. */
  sweep(keptMs?: number): Promise<void>
}

const longestIngestMs = 24 * 3_600_000

/** Opens the store. */
export async function openContent(root: string): Promise<ContentStore> {
  const blobs = join(root, 'blobs')
  const incoming = join(root, 'incoming')
  const makeFolder = async (path: string): Promise<void> => void (await mkdir(path, { recursive: true, mode: 0o700 }))
  await Promise.all([join(blobs, 'sha256'), incoming].map(makeFolder))
  const pathOf = (digest: string): string => join(blobs, algorithmOf(digest), hexOf(digest))
  const partialOf = (digest: string): string => join(incoming, digest.replace(/^sha256:/, '').replace(':', '-'))
  /** By digest: two writers would spoil each other's file. */
  const writing = new Map<string, Promise<void>>()

  const inTurn = async (digest: string, work: () => Promise<void>): Promise<void> => {
    // After the one before, however that ended: its own caller is told.
    const turn = Promise.allSettled([writing.get(digest)]).then(work)
    writing.set(digest, turn)
    try {
      await turn
    } finally {
      if (writing.get(digest) === turn) writing.delete(digest)
    }
  }

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
    const partial = partialOf(digest)
    const folder = dirname(pathOf(digest))
    try {
      await receive(partial, { digest, size }, chunksFrom, onBytes)
    } catch (error) {
      if (!(error instanceof CorruptError) && !isFull(error)) throw error
      await Promise.allSettled([rm(partial, { force: true })]) // on a read-only disk that is not to be told of
      if (error instanceof CorruptError) throw error
      const reason = `${(error as Error).message}: free space on the disk of the images`
      throw new CriError('UNKNOWN', `writing blob ${digest}: ${reason}`, { cause: error })
    }
    crashPoint('image/blob-written')
    await makeFolder(folder)
    await rename(partial, pathOf(digest))
    crashPoint('image/blob-stored')
    await syncFolder(folder)
  }

  const sweep: ContentStore['sweep'] = async (keptMs = longestIngestMs) => {
    for (const name of await readdir(incoming)) {
      const path = join(incoming, name)
      const digest = name.includes('-') ? name.replace('-', ':') : `sha256:${name}`
      const isOurs = digestPattern.test(digest)
      if (!isOurs) await rm(path, { force: true })
      else if (!writing.has(digest)) {
        await inTurn(digest, async () => {
          const isOld = keptMs === 0 || (await changedAt(path)) < Date.now() - keptMs
          if (isOld) await rm(path, { force: true })
        })
      }
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
    write: async (expected, chunksFrom, onBytes = () => undefined) =>
      inTurn(expected.digest, async () => receiveAs(expected, chunksFrom, onBytes)),
    remove: async (digest) => rm(pathOf(digest), { force: true }),
    list: async () => {
      const of = async (algorithm: string): Promise<string[]> =>
        (await readdir(join(blobs, algorithm))).map((hex) => `${algorithm}:${hex}`)
      const found = (await readdir(blobs)).filter((name) => algorithms.includes(name))
      return (await Promise.all(found.map(of))).flat()
    },
  }
}

/** Milliseconds since the epoch; never, when it is no longer there. */
async function changedAt(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs
  } catch (error) {
    if (isMissing(error)) return Infinity
    throw error
  }
}

/** Chunks of a network are small: hashing one does not hold up the others. */
async function receive(
  path: string,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
  chunksFrom: (offset: number) => AsyncIterable<Uint8Array>,
  onBytes: (done: number) => void,
): Promise<void> {
  const hash = hashLike(digest)
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
  const got = endOf(hash, digest)
  if (got !== digest) throw new CorruptError(`blob ${digest} is corrupt: its content has digest ${got}`)
  await file.sync()
}

/** A file as chunks, from an offset. */
export const chunksOf = (path: string, from = 0): AsyncIterable<Uint8Array> => createReadStream(path, { start: from })
