// A folder whose files are replaced all at once: readers see either all old files or all new ones.
import {
  chmod,
  chown,
  lchown,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  rmdir,
  stat,
  symlink,
} from 'node:fs/promises'
import { join } from 'node:path'
import { readMountInfo } from '@nodelet/linux'
import { hasCode } from '../errors.ts'
import type { Payload, PayloadFile } from './payload.ts'
import { removeTree } from './remove-tree.ts'

const current = '..data'
const next = '..data_tmp'
const setGid = 0o2000

/** @param gid the pod's fsGroup, given to every file and folder */
export interface AtomicFolderOptions {
  gid?: number
  /** Current time in milliseconds since the epoch, for the name of the generation. */
  now: number
  /**
   * Which older generations are mounted elsewhere: they stay. A container that is being made could not mount a file that was
   * removed.
   */
  shown?: () => Promise<ReadonlySet<string>>
  /** Folders that are made besides, for others to mount on; relative, without `..`. */
  nested?: readonly string[]
}

/**
 * Makes the folder show exactly these files, in the layout of upstream's AtomicWriter: names are links into `..data`, itself a
 * link to the newest generation. Nothing is written when nothing changed. What fails is undone; ended half-way, the next
 * call finishes or undoes.
 *
 * @returns whether anything was written
 */
export async function writeAtomicFolder(
  folder: string,
  payload: Payload,
  options: AtomicFolderOptions,
): Promise<boolean> {
  const { gid } = options
  const files = new Map([...payload].map(([path, file]) => [path, withGroup(file, gid)]))
  const old = await generationOf(folder)
  if (gid !== undefined) await giveFolder(folder, gid)
  const changed = old === undefined || !(await isSame(join(folder, old), files, gid))
  // What a writer that was killed has left may be what a full disk has no room for.
  if (changed) await sweep(folder, old, options.shown)
  const generation = changed ? await writeGeneration(folder, files, options) : old
  if (changed) {
    await rm(join(folder, next), { force: true })
    await symlink(generation, join(folder, next))
    if (gid !== undefined) await lchown(join(folder, next), 0, gid)
    await rename(join(folder, next), join(folder, current))
  }
  const { nested = [] } = options
  await linkNames(folder, files, gid, new Set(nested.map(firstName)))
  for (const path of nested) await makeNested(join(folder, path))
  await sweep(folder, generation, options.shown)
  return changed
}

function withGroup(file: PayloadFile, gid: number | undefined): PayloadFile {
  return gid === undefined ? file : { ...file, mode: file.mode | 0o440 }
}

async function giveFolder(path: string, gid: number): Promise<void> {
  const { mode, gid: owner, uid } = await stat(path)
  const wanted = mode | 0o550 | setGid
  if (owner !== gid) await chown(path, uid, gid)
  if (wanted !== mode || owner !== gid) await chmod(path, wanted & 0o7777)
}

async function generationOf(folder: string): Promise<string | undefined> {
  try {
    return await readlink(join(folder, current))
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}

async function isSame(generation: string, files: Payload, gid: number | undefined): Promise<boolean> {
  try {
    const entries = await readdir(generation, { recursive: true, withFileTypes: true })
    const present = entries.filter((entry) => !entry.isDirectory())
    if (present.length !== files.size || !present.every((entry) => entry.isFile())) return false
    for (const [path, { data, mode, uid = 0 }] of files) {
      const facts = await stat(join(generation, path))
      if ((facts.mode & 0o7777) !== mode || facts.uid !== uid || facts.gid !== (gid ?? facts.gid)) return false
      if (facts.size !== data.length || !data.equals(await readFile(join(generation, path)))) return false
    }
    return true
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return false
    throw error
  }
}

async function writeGeneration(folder: string, files: Payload, { gid, now }: AtomicFolderOptions): Promise<string> {
  const stamp = new Date(now).toISOString().slice(0, 19).replace(/[-T:]/g, '_')
  const name = `..${stamp}.${Math.floor(Math.random() * 1e9 + 1e9)}`
  const root = join(folder, name)
  await makeFolder(root, gid)
  try {
    await writeAll(root, files, gid)
    return name
  } catch (error) {
    await removeTree(root)
    throw error
  }
}

async function writeAll(root: string, files: Payload, gid: number | undefined): Promise<void> {
  for (const [path, file] of files) {
    const parents = path.split('/').slice(0, -1)
    for (const depth of parents.keys()) await makeFolder(join(root, ...parents.slice(0, depth + 1)), gid)
    await writeOne(join(root, path), file, gid)
  }
}

async function makeFolder(path: string, gid: number | undefined): Promise<void> {
  try {
    await mkdir(path)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
    if (!(await stat(path)).isDirectory()) throw new Error(`${path} would be both a file and a folder`)
    return
  }
  if (gid !== undefined) await chown(path, 0, gid)
  await chmod(path, gid === undefined ? 0o755 : 0o755 | setGid)
}

async function writeOne(path: string, { data, mode, uid = 0 }: PayloadFile, gid: number | undefined): Promise<void> {
  await using file = await open(path, 'w', 0o600)
  await file.writeFile(data)
  await file.chown(uid, gid ?? 0)
  await file.chmod(mode)
  await file.sync()
}

/** Top-level names that users see, each a link into the current generation. */
async function linkNames(
  folder: string,
  files: Payload,
  gid: number | undefined,
  others: ReadonlySet<string>,
): Promise<void> {
  const wanted = new Set([...files.keys()].map(firstName))
  const present = (await readdir(folder, { withFileTypes: true })).filter(({ name }) => !name.startsWith('..'))
  const links = new Set(present.flatMap((entry) => (entry.isSymbolicLink() ? [entry.name] : [])))
  for (const { name } of present) {
    // A folder that others are mounted on stays, be there a file of the name: with it the kernel would take their mounts away.
    const isKept = links.has(name) ? wanted.has(name) : others.has(name)
    if (!isKept) await removeName(join(folder, name))
  }
  for (const name of wanted) if (!links.has(name)) await linkName(folder, name, gid)
}

/** A folder is none of ours: it was made to be mounted, or mounted on. It stays while there is something in it. */
async function removeName(path: string): Promise<void> {
  if (!(await lstat(path)).isDirectory()) return rm(path, { force: true })
  await rmdir(path).catch((error: unknown) => {
    if (!hasCode(error, 'ENOTEMPTY') && !hasCode(error, 'EBUSY')) throw error
  })
}

async function linkName(folder: string, name: string, gid: number | undefined): Promise<void> {
  const path = join(folder, name)
  try {
    await symlink(join(current, name), path)
    if (gid !== undefined) await lchown(path, 0, gid)
  } catch (error) {
    // A folder that stays.
    if (!hasCode(error, 'EEXIST')) throw error
  }
}

const firstName = (path: string): string => path.split('/')[0] ?? path

/** What is a file already is fine: that can be mounted on as well. */
async function makeNested(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o755 })
  } catch (error) {
    if (!hasCode(error, 'EEXIST') && !hasCode(error, 'ENOTDIR')) throw error
  }
}

/** Older generations, and what a writer that was killed left. One that a container has mounted something in stays. */
async function sweep(
  folder: string,
  generation: string | undefined,
  shown: AtomicFolderOptions['shown'],
): Promise<void> {
  const names = await readdir(folder)
  const old = names.filter((name) => name.startsWith('..') && name !== current && name !== generation)
  if (old.length === 0) return
  const stays = (await shown?.()) ?? new Set()
  for (const name of old) {
    if (!stays.has(name)) await removeGeneration(join(folder, name))
  }
}

async function removeGeneration(path: string): Promise<void> {
  const mounts = await readMountInfo('self', { below: path })
  if (mounts.length === 0) await removeTree(path)
}
