// What is mounted, by the kernel's table alone: a look at the place itself may hang with its server.
import { lstat, rmdir, unlink } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { type MountInfo, readMountInfo } from '@nodelet/linux'
import { hasCode } from '../errors.ts'

const tries = 10

/** The table is not read in one piece: of what matters, twice the same is the truth. Others mount meanwhile. @throws Error */
async function settled(read: () => Promise<MountInfo[]>): Promise<MountInfo[]> {
  let before = ''
  for (let left = tries; left > 0; left--) {
    const mounts = await read()
    const text = JSON.stringify(mounts)
    if (text === before) return mounts
    before = text
  }
  throw new Error('/proc/self/mountinfo changes all the time')
}

/** What is mounted at a path and below it. @throws Error when that does not come to rest */
export const readMounts = async (below: string): Promise<MountInfo[]> =>
  settled(async () => readMountInfo('self', { below }))

/** The mount on top at a path. */
export const mountAt = (mounts: readonly MountInfo[], path: string): MountInfo | undefined =>
  mounts.findLast(({ mountPoint }) => mountPoint === path)

/** @throws Error when that does not come to rest */
export async function isMounted(path: string): Promise<boolean> {
  const mounts = await settled(async () =>
    (await readMountInfo('self', { below: path })).filter(({ mountPoint }) => mountPoint === path),
  )
  return mounts.length > 0
}

/**
 * Where else what is mounted at a path is mounted: the same folder of the same file system.
 * @throws Error when that does not come to rest
 */
export async function referencesOf(path: string): Promise<string[]> {
  const mounts = await settled(async () => {
    const all = await readMountInfo()
    const mount = mountAt(all, path)
    const isSame = ({ id, root, major, minor }: MountInfo): boolean =>
      id !== mount?.id && root === mount?.root && major === mount.major && minor === mount.minor
    return all.filter(isSame)
  })
  return mounts.map(({ mountPoint }) => mountPoint)
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

/**
 * The first link on the way from a folder, whose own way has none, to a path; what is not there is none. A container that has its pod's
 * folder as a hostPath could send drivers elsewhere by one: to volumes of other pods.
 */
export async function linkOnWay(root: string, path: string): Promise<string | undefined> {
  let way = root
  for (const name of relative(root, path).split('/')) {
    way = join(way, name)
    try {
      if ((await lstat(way)).isSymbolicLink()) return way
    } catch (error) {
      if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return undefined
      throw error
    }
  }
  return undefined
}

/** @throws Error naming the link */
export async function refuseLinks(root: string, path: string): Promise<void> {
  const link = await linkOnWay(root, path)
  if (link !== undefined) throw new Error(`${link} is a link, which is not followed`)
}
