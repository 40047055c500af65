// Unpacks one layer: runs in a worker, so its file calls are synchronous.
import { createHash } from 'node:crypto'
import {
  chmodSync,
  constants,
  createReadStream,
  createWriteStream,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { makeNode, setXattr } from '@nodelet/linux'
import { extract } from 'tar-stream'
import type { Header } from 'tar-stream'
import { createLayerTree } from './layer-tree.ts'
import type { LayerTree } from './layer-tree.ts'

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
}

/** An entry's bytes: to be read to the end, or let go. */
type Content = AsyncIterable<Uint8Array> & { resume(): void }

const opaqueMark = '.wh..wh..opq'
const whiteoutPrefix = '.wh.'
const xattrKey = 'SCHILY.xattr.'

/** @throws Error naming the entry that can't be unpacked, or both digests */
export async function unpackLayer({ blob, folder, lowers, diffId }: UnpackTask): Promise<Unpacked> {
  const hash = createHash('sha256')
  const tree = createLayerTree(folder, lowers)
  const folders: { path: string; mtime: Date }[] = []
  const total: Unpacked = { size: 0, inodes: 0 }
  const entries = extract()
  const tar = new PassThrough()
  const read = (async (): Promise<void> => {
    for await (const entry of entries) {
      const { header } = entry
      try {
        await unpackEntry(tree, header, entry as unknown as Content, folders)
      } catch (error) {
        throw new Error(`entry ${JSON.stringify(header.name)}: ${(error as Error).message}`, { cause: error })
      }
      total.size += header.size ?? 0
      total.inodes += 1
    }
  })()
  tar.on('data', (chunk: Uint8Array) => hash.update(chunk))
  await Promise.all([read, pipeline(await decompressed(blob), tar, entries)])
  const got = `sha256:${hash.digest('hex')}`
  if (got !== diffId) throw new Error(`layer is corrupt: it unpacks to ${got}, its image says ${diffId}`)
  // Last, and inner ones first: making what is inside changes a folder's time.
  for (const { path, mtime } of folders.toReversed()) lutimesSync(path, mtime, mtime)
  return total
}

/** Told by the first bytes, not by the media type, which some builders get wrong. */
async function decompressed(path: string): Promise<Readable> {
  const head = Buffer.alloc(4)
  for await (const chunk of createReadStream(path, { end: 3 })) (chunk as Buffer).copy(head)
  const file = createReadStream(path, { highWaterMark: 256 * 1024 })
  const through =
    head.readUInt16BE(0) === 0x1f8b
      ? createGunzip()
      : head.readUInt32LE(0) === 0xfd2fb528
        ? createZstdDecompress()
        : undefined
  if (!through) return file
  file.on('error', (error) => through.destroy(error))
  return file.pipe(through)
}

async function unpackEntry(
  tree: LayerTree,
  header: Header,
  content: Content,
  folders: { path: string; mtime: Date }[],
): Promise<void> {
  const { folder, path, base } = tree.place(header.name)
  if (base === opaqueMark) {
    setXattr(folder, 'trusted.overlay.opaque', Buffer.from('y'))
    content.resume()
    return
  }
  if (base.startsWith(whiteoutPrefix)) {
    const hidden = join(folder, base.slice(whiteoutPrefix.length))
    if (base.length === whiteoutPrefix.length) throw new Error('a whiteout of nothing')
    rmSync(hidden, { recursive: true, force: true })
    makeNode(hidden, constants.S_IFCHR)
    content.resume()
    return
  }
  const present = lstatSync(path, { throwIfNoEntry: false })
  const isFolder = header.type === 'directory'
  if (present && base !== '' && !(isFolder && present.isDirectory())) rmSync(path, { recursive: true, force: true })
  await make(tree, header, content, path, Boolean(present?.isDirectory()))
  if (header.type === 'link') return
  lchownSync(path, header.uid ?? 0, header.gid ?? 0)
  for (const [key, value] of Object.entries(header.pax ?? {})) {
    if (key.startsWith(xattrKey)) setXattr(path, key.slice(xattrKey.length), xattrValue(key, String(value)))
  }
  if (header.type !== 'symlink') chmodSync(path, header.mode ?? (isFolder ? 0o755 : 0o644)) // after chown, which drops setuid
  const mtime = header.mtime ?? new Date(0)
  if (isFolder) folders.push({ path, mtime })
  else lutimesSync(path, mtime, mtime)
}

async function make(
  tree: LayerTree,
  header: Header,
  content: Content,
  path: string,
  hasFolder: boolean,
): Promise<void> {
  const { type, devmajor, devminor } = header
  switch (type) {
    case 'file':
    case 'contiguous-file':
    case null:
    case undefined:
      await pipeline(content, createWriteStream(path, { flags: 'wx', mode: 0o600 }))
      return
    case 'directory':
      if (!hasFolder) mkdirSync(path)
      break
    case 'symlink':
      symlinkSync(header.linkname ?? '', path)
      break
    case 'link':
      linkSync(tree.source(header.linkname ?? ''), path)
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

/** The tar reader gives text; bytes that are not UTF-8 are lost in it, and a wrong capability is worse than none. */
function xattrValue(key: string, value: string): Buffer {
  if (value.includes('\uFFFD')) throw new Error(`${key}: its value can't be read as text`)
  return Buffer.from(value)
}
