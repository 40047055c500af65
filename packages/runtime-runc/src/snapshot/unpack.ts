// Unpacks one layer: runs in a worker, so its file calls are synchronous.
import { createHash } from 'node:crypto'
import { constants, createReadStream, createWriteStream, linkSync, rmSync, symlinkSync } from 'node:fs'
import type { Stats } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { makeNode } from '@nodelet/linux'
import { extract } from 'tar-stream'
import type { Header } from 'tar-stream'
import { decompressor } from './compression.ts'
import { createLayerTree, makeOpaque, partsOf, replaceWithFolder, statOf } from './layer-tree.ts'
import type { LayerTree } from './layer-tree.ts'
import { setMetadata, setTimes } from './metadata.ts'
import type { Records } from './metadata.ts'
import { createPaxReader } from './pax.ts'

/** What a worker is asked to do; plain data. */
export interface UnpackTask {
  /** The compressed blob. */
  blob: string
  /** An empty folder. */
  folder: string
  /** Folders of the layers below, topmost first. */
  lowers: string[]
  /** Digest of the tar that must come out. */
  diffId: string
}

export interface Unpacked {
  /** Bytes of all files. */
  size: number
  inodes: number
  /** Whether the layer hides all that is below it. */
  hidesAll: boolean
}

interface Entry {
  header: Header
  records: Records
  /** To be read to the end, or let go. */
  content: AsyncIterable<Uint8Array> & { resume(): void }
}

const opaqueMark = '.wh..wh..opq'
/** Other names that begin like this are another union file system's own files. */
const metaPrefix = '.wh..wh.'
const whiteoutPrefix = '.wh.'
const none: Records = new Map()

/** @throws Error naming the entry that can't be unpacked, or both digests */
export async function unpackLayer({ blob, folder, lowers, diffId }: UnpackTask): Promise<Unpacked> {
  const hash = createHash('sha256')
  const pax = createPaxReader()
  const tree = createLayerTree(folder, lowers)
  const folders = new Map<string, Entry>()
  const total: Unpacked = { size: 0, inodes: 0, hidesAll: false }
  const entries = extract()
  const read = (async (): Promise<void> => {
    for await (const stream of entries) {
      const header = stream.header as Header & { byteOffset: number }
      const entry = {
        header,
        records: pax.take(header.byteOffset) ?? none,
        content: stream as unknown as Entry['content'],
      }
      try {
        await unpackEntry(tree, entry, folders, total)
      } catch (error) {
        throw new Error(`entry ${JSON.stringify(header.name)}: ${(error as Error).message}`, { cause: error })
      }
    }
  })()
  const watched = async function* (tar: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of tar) {
      hash.update(chunk)
      pax.push(chunk)
      yield chunk
    }
  }
  const file = createReadStream(blob, { highWaterMark: 256 * 1024 })
  await Promise.all([read, pipeline(file, await decompressor(blob), watched, entries)])
  const got = `sha256:${hash.digest('hex')}`
  if (got !== diffId) throw new Error(`layer is corrupt: it unpacks to ${got}, its image says ${diffId}`)
  // Last, and inner ones first: making what is inside changes a folder's time.
  for (const [path, { header, records }] of [...folders].toReversed()) {
    if (statOf(path)?.isDirectory()) setTimes(path, header, records)
  }
  return total
}

async function unpackEntry(tree: LayerTree, entry: Entry, folders: Map<string, Entry>, total: Unpacked): Promise<void> {
  const { header, records, content } = entry
  if (partsOf(header.name).some((part) => part.startsWith(metaPrefix) && part !== opaqueMark)) {
    content.resume()
    return
  }
  const { folder, path, base } = tree.place(header.name)
  if (base.startsWith(whiteoutPrefix)) {
    if (base !== opaqueMark) hide(tree, folder, base.slice(whiteoutPrefix.length))
    else if (partsOf(header.name).length === 1) total.hidesAll = true
    else makeOpaque(folder)
    content.resume()
    return
  }
  const present = statOf(path)
  const isFolder = typeOf(header) === 'directory'
  if (base === '' && !isFolder) throw new Error('the root of a layer is a folder')
  if (present && !isFolder) rmSync(path, { recursive: true })
  await make(tree, entry, path, present)
  total.inodes += 1
  if (header.type === 'link') return
  total.size += header.size
  setMetadata(path, header, records)
  if (isFolder) folders.set(path, entry)
  else setTimes(path, header, records)
}

/** A whiteout is about lower layers: what this layer has under the name stays. */
function hide(tree: LayerTree, folder: string, name: string): void {
  if (name === '' || name === '.' || name === '..') throw new Error('a whiteout of nothing')
  const path = join(folder, name)
  const present = statOf(path)
  if (present && !tree.isCopy(path)) {
    if (present.isDirectory()) makeOpaque(path)
    return
  }
  rmSync(path, { force: true })
  makeNode(path, constants.S_IFCHR)
}

/** Old tars mark a folder by the slash after its name alone. */
const typeOf = ({ type, name }: Header): Header['type'] => (type === 'file' && name.endsWith('/') ? 'directory' : type)

async function make(
  tree: LayerTree,
  { header, records, content }: Entry,
  path: string,
  present: Stats | undefined,
): Promise<void> {
  const { devmajor, devminor, linkname } = header
  const type = typeOf(header)
  switch (type) {
    case 'file':
    case 'contiguous-file':
      if ([...records.keys()].some((key) => key.startsWith('GNU.sparse.'))) throw new Error('a sparse file')
      await pipeline(content, createWriteStream(path, { flags: 'wx', mode: 0o600 }))
      return
    case 'directory':
      if (!present?.isDirectory()) {
        replaceWithFolder(path, present)
      }
      break
    case 'symlink':
      symlinkSync(linkname, path)
      break
    case 'link':
      linkSync(tree.source(linkname), path)
      break
    case 'character-device':
      makeNode(path, constants.S_IFCHR | 0o600, devmajor, devminor)
      break
    case 'block-device':
      makeNode(path, constants.S_IFBLK | 0o600, devmajor, devminor)
      break
    case 'fifo':
      makeNode(path, constants.S_IFIFO | 0o600)
      break
    default:
      throw new Error(`type ${JSON.stringify(type)} is not one of layers`)
  }
  content.resume()
}
