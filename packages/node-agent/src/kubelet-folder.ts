// The kubelet's folder when it is not below the node's root: a reset takes out what the node put there, and nothing else.
import { lstat, mkdir, open, readdir, readFile, realpath, rename, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { detachLoop, partMounts, readLoops, readMountInfo, unmount } from '@nodelet/linux'
import { emptyFolder } from './remove-folders.ts'

/** As it was before the node came. */
interface Before {
  /** Without links. */
  path: string
  wasThere: boolean
  /** Names in it. */
  entries: string[]
  /** Where in it something was mounted, or the folder itself. */
  mounts: string[]
}

const recordFile = (root: string): string => join(root, 'kubelet-folder.json')

/**
 * Makes the folder, and notes first what is there already. A folder that is known is left as it is.
 * @param root of the node, where that is noted
 */
export async function claimFolder(root: string, folder: string): Promise<void> {
  const known = await readRecords(root)
  const wasThere = await isThere(folder)
  if (!wasThere) {
    // Its name without links is known when it is there, so a kill in between leaves an empty folder.
    await mkdir(folder, { recursive: true, mode: 0o750 })
  }
  const path = await realpath(folder)
  if (known.some((one) => one.path === path)) return
  const mounts = (await readMountInfo()).map(({ mountPoint }) => mountPoint).filter((one) => isWithin(one, path))
  await writeRecords(root, [...known, { path, wasThere, entries: await readdir(path), mounts }])
}

/**
 * Unmounts what was mounted in the folders since the node came, gives back loop devices of files in them, and removes what was
 * made in them. Safe to run again.
 * @throws Error naming what is mounted still
 */
export async function releaseFolders(root: string): Promise<void> {
  for (const before of await readRecords(root)) if (await isThere(before.path)) await release(before)
}

async function release({ path, wasThere, entries, mounts }: Before): Promise<void> {
  const isOld = (file: string): boolean => entries.some((name) => isWithin(file, join(path, name)))
  for (const loop of readLoops()) if (isWithin(loop.file, path) && !isOld(loop.file)) detachLoop(loop.path)
  const fresh = async (): Promise<string[]> => {
    const now = (await readMountInfo()).map(({ mountPoint }) => mountPoint).filter((one) => isWithin(one, path))
    // One may lie on top of another.
    for (const one of mounts) if (now.includes(one)) now.splice(now.indexOf(one), 1)
    return now
  }
  const leaving = new Set(await fresh())
  // What the machine has mounted on a folder that a pod had as a volume stays there.
  await partMounts((one) => leaving.has(one))
  for (const mountPoint of (await fresh()).toReversed()) unmount(mountPoint, { detach: true })
  const left = await fresh()
  if (left.length > 0) throw new Error(`still mounted: ${left.join(', ')}`)
  await emptyFolder(path, entries)
  if (!wasThere && mounts.length === 0) await rmdir(path)
}

const isWithin = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`)

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

async function readRecords(root: string): Promise<Before[]> {
  try {
    return JSON.parse(await readFile(recordFile(root), 'utf8')) as Before[]
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/** Whole or not at all, whenever a kill comes. */
async function writeRecords(root: string, records: readonly Before[]): Promise<void> {
  const file = recordFile(root)
  await using handle = await open(`${file}.tmp`, 'w', 0o600)
  await handle.writeFile(`${JSON.stringify(records, null, 2)}\n`)
  await handle.sync()
  await rename(`${file}.tmp`, file)
}
