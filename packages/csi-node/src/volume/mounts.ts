// What is mounted, by the kernel's table alone: a look at the place itself may hang with its server.
import { lstat, readFile, rmdir, unlink } from 'node:fs/promises'
import { type MountInfo, parseMountInfo } from '@nodelet/linux'
import { hasCode } from '../errors.ts'

const tries = 10

/** The table is not read in one piece: twice the same is the truth. @throws Error when it does not come to rest */
export async function readMounts(): Promise<MountInfo[]> {
  let before = await readFile('/proc/self/mountinfo', 'utf8')
  for (let left = tries; left > 0; left--) {
    const text = await readFile('/proc/self/mountinfo', 'utf8')
    if (text === before) return parseMountInfo(text)
    before = text
  }
  throw new Error('/proc/self/mountinfo changes all the time')
}

/** The mount on top at a path. */
export const mountAt = (mounts: readonly MountInfo[], path: string): MountInfo | undefined =>
  mounts.findLast(({ mountPoint }) => mountPoint === path)

export const isMounted = async (path: string): Promise<boolean> => mountAt(await readMounts(), path) !== undefined

/** Where else what is mounted at a path is mounted: the same folder of the same file system. */
export function referencesOf(mounts: readonly MountInfo[], path: string): string[] {
  const mount = mountAt(mounts, path)
  if (!mount) return []
  const isSame = ({ id, root, major, minor }: MountInfo): boolean =>
    id !== mount.id && root === mount.root && major === mount.major && minor === mount.minor
  return mounts.filter(isSame).map(({ mountPoint }) => mountPoint)
}

/** Removes folders that must be empty, in this order; one that is not there is fine. @throws ENOTEMPTY, EBUSY */
export async function removeFolders(...paths: string[]): Promise<void> {
  for (const path of paths) {
    try {
      await rmdir(path)
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error
    }
  }
}

/** Removes an empty folder, an empty file, a link or a device, whatever a driver left; never data. @throws ENOTEMPTY, EBUSY, Error */
export async function removeTarget(path: string): Promise<void> {
  try {
    const stats = await lstat(path)
    if (stats.isDirectory()) return await rmdir(path)
    if (stats.isFile() && stats.size > 0) throw new Error(`${path} is a file that is not empty: it stays`)
    await unlink(path)
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
  }
}
