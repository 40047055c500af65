// Takes the folders of a node away, and never what others have mounted in them.
import { lstat, readdir, realpath, rename, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { removeTree } from '@nodelet/kubelet-core'
import { detachLoop, partMounts, readLoops, readMountInfo, unmount } from '@nodelet/linux'

/**
 * Unmounts what is mounted below folders, gives back loop devices of what is in them, and removes them. A folder that is a mount itself
 * stays, empty. Safe to run again, and after a kill at any point.
 * @throws Error naming what is mounted still, or meanwhile: nothing in it was removed
 */
export async function removeFolders(folders: readonly string[]): Promise<void> {
  // The kernel's tables have paths without links.
  const real = (await Promise.all(folders.map(realFolders))).flat()
  const isBelow = (path: string): boolean => real.some((folder) => path.startsWith(`${folder}/`))
  // What is in use goes with its last user, which may be one of the mounts.
  for (const { path, file } of readLoops()) if (isBelow(file)) detachLoop(path)
  await unmountAll(isBelow)
  for (const folder of real) await emptyFolder(folder)
  const mountPoints = new Set((await readMountInfo()).map(({ mountPoint }) => mountPoint))
  await Promise.all(real.filter((folder) => !mountPoints.has(folder)).map(async (folder) => rmdir(folder)))
  // Those that were links.
  await Promise.all(folders.map(async (folder) => ((await isLink(folder)) ? rm(folder) : undefined)))
}

async function realFolders(folder: string): Promise<string[]> {
  try {
    return [await realpath(folder)]
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/** What is not there is none. */
async function isLink(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSymbolicLink()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

/** Latest first. What is mounted in the folders of a node is the node's, and its drivers'. */
async function unmountAll(isBelow: (path: string) => boolean): Promise<void> {
  const mountedPaths = async (): Promise<string[]> =>
    (await readMountInfo()).map(({ mountPoint }) => mountPoint).filter(isBelow)
  // What the machine has mounted on a folder that a pod had as a volume stays there.
  await partMounts(isBelow)
  for (const path of (await mountedPaths()).toReversed()) unmount(path, { detach: true })
  const left = await mountedPaths()
  if (left.length > 0) throw new Error(`still mounted: ${left.join(', ')}`)
}

const leaving = '.leaving~'

/**
 * Each folder in it is moved first: a plugin that still runs would make its socket again where it was.
 * @param kept names that stay
 */
export async function emptyFolder(folder: string, kept: readonly string[] = []): Promise<void> {
  for (const name of await readdir(folder)) {
    if (kept.includes(name)) continue
    const aside = name.endsWith(leaving) ? name : `${name}${leaving}`
    if (name !== aside) await rename(join(folder, name), join(folder, aside))
    await removeTree(join(folder, aside))
  }
}
