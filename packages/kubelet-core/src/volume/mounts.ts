// Mounts below the kubelet's root: made, found, and taken away by what is really mounted.
import { lstat, readdir, rename, rm, rmdir, statfs, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import {
  isMountPoint,
  LinuxError,
  mount,
  type MountInfo,
  partMounts,
  readMountInfo,
  unmountSlowly,
} from '@nodelet/linux'
import { hasCode } from '../errors.ts'
import { mayHang, unmountApart } from '../storage/apart.ts'
import { removeEmptyEntry, removeTree } from './remove-tree.ts'

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

/** Mounts a hugetlbfs there, unless one is. @returns whether it did */
export async function ensureHugetlbfs(path: string, options: readonly string[]): Promise<boolean> {
  if (await isMounted(path, hugetlbfsMagic)) return false
  mount({ source: 'nodev', target: path, type: 'hugetlbfs', options })
  return true
}

const isMounted = async (path: string, magic: number): Promise<boolean> =>
  isMountPoint(path) && (await statfs(path)).type === magic

/** Mounts at and below a path, the newest first. */
export async function mountsBelow(path: string): Promise<MountInfo[]> {
  return (await readMountInfo('self', { below: path })).toReversed()
}

/**
 * Unmounts all at and below a path of a pod. What the node or another pod has mounted on a folder that is bound here stays there.
 * @param own folders: what is mounted there may go as well
 * @throws LinuxError with EBUSY, or Error with what umount said, while something is used
 */
export async function unmountBelow(path: string, own: readonly string[]): Promise<void> {
  const mounts = await mountsBelow(path)
  const ids = new Set(mounts.map(({ id }) => id))
  if (mounts.some(({ parentId }) => ids.has(parentId))) {
    await partMounts(
      (one) => isWithin(one, path),
      (one) => own.some((folder) => isWithin(one, folder)),
    )
  }
  for (const mount of mounts) await unmountOne(mount)
}

const isWithin = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`)

async function unmountOne({ mountPoint, type }: MountInfo): Promise<void> {
  if (mayHang(type)) await unmountApart(mountPoint)
  else await unmountSlowly(mountPoint)
}

/**
 * Removes a folder with all in it, after all below it was unmounted; it first goes out of sight by a new name, so that one
 * removed half-way is never taken for whole. What is mounted there is never entered.
 */
export async function removeVolume(path: string, own: readonly string[]): Promise<void> {
  await unmountBelow(path, own)
  const doomed = path.endsWith(doomedSuffix) ? path : `${path}${doomedSuffix}`
  try {
    if (doomed !== path) await moveAside(path, doomed)
    await removeTree(doomed)
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
  }
}

/** What of a volume that is mounted may be in its folder beside the mount: its target, and who mounted it. */
const ofMounter = ['mount', 'vol_data.json']

/**
 * Unmounts a volume whose files are not this node's, and removes its folder, which must be empty then.
 * @throws Error naming what is in it otherwise, or LinuxError when it is in use: all stays as it is
 */
export async function removeMountedVolume(path: string, own: readonly string[]): Promise<void> {
  await unmountBelow(path, own)
  const [target, record] = ofMounter.map((name) => join(path, name)) as [string, string]
  const others = (await ownNamesIn(path)).filter((name) => !ofMounter.includes(name))
  if (others.length > 0) {
    throw new Error(`${path} is not mounted and not empty: it has ${others.slice(0, 3).join(', ')}, which stays`)
  }
  await removeEmptyEntry(target)
  await rm(record, { force: true })
  await removeEmpty(path)
}

const doomedSuffix = '.deleting~'

async function moveAside(path: string, doomed: string): Promise<void> {
  try {
    await rename(path, doomed)
  } catch (error) {
    if (!hasCode(error, 'ENOTEMPTY') && !hasCode(error, 'EEXIST')) throw error
    // Left by an earlier removal that was cut short.
    await removeTree(doomed)
    await rename(path, doomed)
  }
}

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

/** Names in a folder; none when it is not there, or is none. */
export async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path)
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return []
    throw error
  }
}

/** Names in a folder of a pod; what is in its place goes first. */
export async function ownNamesIn(path: string): Promise<string[]> {
  await uncover(path)
  return namesIn(path)
}

/**
 * Removes a link where a folder of a pod should be, and unmounts what is mounted on it: by either it could be another pod's.
 * @throws LinuxError, Error: it is in use
 */
export async function uncover(path: string): Promise<void> {
  await removeLink(path)
  for (const mount of await mountsBelow(path)) if (mount.mountPoint === path) await unmountOne(mount)
}

/** Removes a link where a folder of a pod should be: a container that has the one above it as a hostPath has made it. */
export async function removeLink(path: string): Promise<void> {
  try {
    if ((await lstat(path)).isSymbolicLink()) await unlink(path)
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
  }
}
