// Mounts below the kubelet's root: made, found, and taken away by what is really mounted.
import { lstat, readdir, rename, rmdir, statfs, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isMountPoint, LinuxError, mount, readMountInfo, unmountIfMounted } from '@nodelet/linux'
import { hasCode } from '../errors.ts'

const tmpfsMagic = 0x0102_1994
const hugetlbfsMagic = 0x9584_58f6

/** Mounts a tmpfs there, unless one is. Its pages stay out of swap where the kernel can (6.4). */
export async function ensureTmpfs(path: string, options: readonly string[]): Promise<void> {
  if (await isMounted(path, tmpfsMagic)) return
  const base = { source: 'tmpfs', target: path, type: 'tmpfs' }
  try {
    mount({ ...base, options: [...options, 'noswap'] })
  } catch (error) {
    if (!(error instanceof LinuxError && error.code === 'EINVAL')) throw error
    mount({ ...base, options })
  }
}

/** Mounts a hugetlbfs there, unless one is. */
export async function ensureHugetlbfs(path: string, options: readonly string[]): Promise<void> {
  if (await isMounted(path, hugetlbfsMagic)) return
  mount({ source: 'nodev', target: path, type: 'hugetlbfs', options })
}

const isMounted = async (path: string, magic: number): Promise<boolean> =>
  isMountPoint(path) && (await statfs(path)).type === magic

/** Mount points at and below a path, the newest first. */
export async function mountsBelow(path: string): Promise<string[]> {
  const mounts = await readMountInfo('self', { below: path })
  return mounts.map(({ mountPoint }) => mountPoint).toReversed()
}

/** @throws LinuxError with EBUSY while something is used */
export async function unmountBelow(path: string): Promise<void> {
  for (const mountPoint of await mountsBelow(path)) unmountIfMounted(mountPoint)
}

/**
 * Removes a folder with all in it, after all below it was unmounted; it first goes out of sight by a new name, so that one
 * removed half-way is never taken for whole. Other file systems are not entered.
 */
export async function removeVolume(path: string): Promise<void> {
  await unmountBelow(path)
  const doomed = path.endsWith(doomedSuffix) ? path : `${path}${doomedSuffix}`
  try {
    if (doomed !== path) await moveAside(path, doomed)
    await removeTree(doomed, (await lstat(dirname(doomed))).dev)
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
  }
}

const doomedSuffix = '.deleting~'

async function moveAside(path: string, doomed: string): Promise<void> {
  try {
    await rename(path, doomed)
  } catch (error) {
    if (!hasCode(error, 'ENOTEMPTY') && !hasCode(error, 'EEXIST')) throw error
    // Left by an earlier removal that was cut short.
    await removeTree(doomed, (await lstat(dirname(doomed))).dev)
    await rename(path, doomed)
  }
}

async function removeTree(path: string, device: number): Promise<void> {
  const stats = await lstat(path)
  if (!stats.isDirectory()) return unlink(path)
  const [mounted] = await mountsBelow(path)
  if (mounted !== undefined) throw new Error(`${mounted} is still mounted: nothing in it was removed`)
  await emptyFolder(Buffer.from(path), device)
}

/** Paths are bytes: containers may use names that are no UTF-8. */
async function emptyFolder(path: Buffer, device: number): Promise<void> {
  if ((await lstat(path)).dev !== device) {
    throw new Error(`${path.toString()} is on another file system: unmount it, nothing in it was removed`)
  }
  for (const entry of await readdir(path, { withFileTypes: true, encoding: 'buffer' })) {
    const child = Buffer.concat([path, slash, entry.name])
    await (entry.isDirectory() ? emptyFolder(child, device) : unlink(child))
  }
  await rmdir(path)
}

const slash = Buffer.from('/')

/** Removes folders that must be empty, from the innermost; one that is not there is fine. */
export async function removeEmpty(...paths: string[]): Promise<void> {
  for (const path of paths) {
    try {
      await rmdir(path)
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error
    }
  }
}

/** Names in a folder; none when it is not there. */
export async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return []
    throw error
  }
}
