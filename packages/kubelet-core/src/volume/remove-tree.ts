// Removes folders with all in them, and never what is mounted there.
import { randomUUID } from 'node:crypto'
import { constants, type Dirent } from 'node:fs'
import { type FileHandle, lstat, open, readdir, readFile, rename, rmdir, unlink } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { hasCode } from '../errors.ts'

/** So many folders are held open, one in the other; what is deeper is moved up first. */
const deepest = 64
const folderOnly = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW

/**
 * Removes a file or folder with all in it. Each folder is held while it is emptied, so that neither a link put in its place nor
 * a mount made meanwhile leads elsewhere: one on another mount than the folder that `path` is in, be it of the same file system,
 * is an error, and nothing in it is touched.
 *
 * @throws Error naming the folder that is mounted; ENOENT when there is nothing
 */
export async function removeTree(path: string): Promise<void> {
  if (!(await lstat(path)).isDirectory()) return unlink(path)
  await using parent = await open(dirname(path), folderOnly & ~constants.O_NOFOLLOW)
  const mount = await mountOf(parent)
  const itself = `${held(parent)}/${basename(path)}`
  {
    await using top = await openFolder(itself, path, mount)
    await emptyFolder(top, { mount, top, moved: 0, path }, 0)
  }
  await rmdir(itself)
}

interface Removal {
  mount: string
  top: FileHandle
  /** How many folders were moved up. */
  moved: number
  /** For errors. */
  path: string
}

/** Names are bytes: containers may use such as are no UTF-8. */
async function emptyFolder(folder: FileHandle, removal: Removal, depth: number): Promise<void> {
  for (let before = -1; before < removal.moved;) {
    before = removal.moved
    const entries = await readdir(held(folder), { withFileTypes: true, encoding: 'buffer' })
    for (const entry of entries) await removeEntry(folder, entry, removal, depth)
    if (depth > 0) return // it is the top that folders are moved to
  }
}

async function removeEntry(folder: FileHandle, entry: Dirent<Buffer>, removal: Removal, depth: number): Promise<void> {
  const child = Buffer.concat([Buffer.from(`${held(folder)}/`), entry.name])
  if (!entry.isDirectory()) return unlink(child)
  if (depth === deepest) {
    removal.moved++
    // A name like no other: an earlier removal may have been cut short.
    return rename(child, `${held(removal.top)}/${randomUUID()}${movedSuffix}`)
  }
  {
    await using inner = await openFolder(child, `${removal.path} … ${entry.name.toString()}`, removal.mount)
    await emptyFolder(inner, removal, depth + 1)
  }
  await rmdir(child)
}

const movedSuffix = '.moved~'

/** @throws Error when something is mounted there */
async function openFolder(path: string | Buffer, name: string, mount: string): Promise<FileHandle> {
  const folder = await open(path, folderOnly)
  try {
    if ((await mountOf(folder)) === mount) return folder
    throw new Error(`${name} is still mounted: nothing in it was removed`)
  } catch (error) {
    await folder.close()
    throw error
  }
}

const held = (folder: FileHandle): string => `/proc/self/fd/${folder.fd}`

/** The kernel's number of the mount that a file was opened through: binds of one file system differ. */
async function mountOf({ fd }: FileHandle): Promise<string> {
  const id = /^mnt_id:\s*(\d+)$/m.exec(await readFile(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1]
  if (id === undefined) throw new Error(`/proc/self/fdinfo/${fd} has no mnt_id`)
  return id
}

/** Removes a file that is empty, or a folder that is; one that is not there is fine. @throws Error: it is not, and stays */
export async function removeEmptyEntry(path: string): Promise<void> {
  try {
    const stats = await lstat(path)
    if (stats.isDirectory()) return await rmdir(path)
    if (!stats.isFile() || stats.size > 0) throw new Error(`${path} is no empty file: it was not removed`)
    await unlink(path)
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
  }
}
