// What most drivers do on a node, so that it may be asked for again: mounts that are there or not, targets made and removed.
import { lstat, mkdir, open, realpath, rm, rmdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { type MountOptions, mountSlowly, readMountInfo, unmountSlowly } from '@nodelet/linux'
import { CsiError } from './errors.ts'

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT'

/** Where a path is: what is above it may be links, as a kubelet's folder may; undefined when that is not there. */
async function placeOf(path: string): Promise<string | undefined> {
  const parent = await realpath(dirname(path)).catch((error: unknown) => {
    if (isMissing(error)) return undefined
    throw error
  })
  return parent === undefined ? undefined : join(parent, basename(path))
}

/** What is mounted last at a path; undefined when nothing is. A link is not followed. */
async function mountAt(
  path: string,
): Promise<{ major: number; minor: number; root: string; options: string[] } | undefined> {
  const target = await placeOf(path)
  if (target === undefined) return undefined
  const mounts = await readMountInfo('self', { below: target })
  return mounts.findLast(({ mountPoint }) => mountPoint === target)
}

/** Whether anything is mounted there, also a bind within one file system. */
export const isMounted = async (path: string): Promise<boolean> => (await mountAt(path)) !== undefined

export interface EnsureMounted extends MountOptions {
  /**
   * Default false. A bind is made read-only in a second step; a mount of a killed driver that lacks it is finished. A block device that
   * is bound so can still be written to: bind one that only reads, as `losetup --read-only` makes.
   */
  readOnly?: boolean
}

/**
 * Mounts unless it is mounted so already, and in place of a mount whose program or server is gone. A folder as source is bound when
 * no `type` is given; what the mount that it is on does not allow, its bind does not either. Of options only read-only is compared
 * with what is there, since file systems write their own otherwise than they were given.
 * @returns whether it mounted
 * @throws CsiError ALREADY_EXISTS when something else is mounted there, or the same otherwise: read-only where it is to be written to, or a
 * file system for writing that is to be read-only (a bind is made so, as it may be half done: a driver that has published it for writing
 * remembers that, and refuses); INVALID_ARGUMENT when a link is there; LinuxError
 */
export async function ensureMounted({ readOnly = false, ...wanted }: EnsureMounted): Promise<boolean> {
  const { target, type, options = [] } = wanted
  const isBind = type === undefined
  await look(target)
  let found = await mountAt(target)
  if (found && (await isCorrupted(target))) {
    await ensureUnmounted(target)
    found = undefined
  }
  if (found) {
    if (isBind && !(await isSame(wanted.source, target))) {
      throw new CsiError('ALREADY_EXISTS', `${target}: something other than ${wanted.source} is mounted there`)
    }
    const isReadOnly = found.options.includes('ro')
    if (isReadOnly === readOnly) return false
    // The second step of a read-only bind may be missing; nobody has had it meanwhile.
    if (isReadOnly || !isBind) {
      throw new CsiError('ALREADY_EXISTS', `${target}: it is mounted ${isReadOnly ? 'read-only' : 'for writing'} there`)
    }
  } else {
    await mountSlowly({
      ...wanted,
      options: isBind ? ['bind'] : [...options, ...(readOnly ? ['ro'] : [])],
    })
  }
  if (isBind && (readOnly || options.length > 0)) {
    const asked = options.filter((word) => word !== 'bind')
    const kept = inherited((await mountAt(target))?.options ?? [], asked)
    const flags = ['bind', 'remount', ...asked, ...kept, ...(readOnly ? ['ro'] : [])]
    await mountSlowly({ source: wanted.source, target, options: flags })
  }
  return !found
}

/** What a remount would take away from a bind, and its source's mount has. */
function inherited(options: readonly string[], asked: readonly string[]): string[] {
  const isTimed = asked.some((word) => word.endsWith('atime'))
  return options.filter((word) => ['nosuid', 'nodev', 'noexec'].includes(word) || (!isTimed && word.endsWith('atime')))
}

const corrupt = new Set(['ENOTCONN', 'ESTALE', 'EIO', 'EACCES', 'EHOSTDOWN', 'EWOULDBLOCK', 'EAGAIN', 'ENODEV'])

const isCorrupt = (error: unknown): boolean => corrupt.has((error as NodeJS.ErrnoException).code ?? '')

/** Nothing can be had of what is mounted there. */
async function isCorrupted(path: string): Promise<boolean> {
  try {
    await stat(path)
    return false
  } catch (error) {
    return isCorrupt(error)
  }
}

/** What is at a target. @throws CsiError INVALID_ARGUMENT: a link, which would have the driver work elsewhere */
async function look(path: string): Promise<'folder' | 'other' | 'unknown' | undefined> {
  try {
    const stats = await lstat(path)
    if (stats.isSymbolicLink()) throw new CsiError('INVALID_ARGUMENT', `${path}: it is a link, which is not followed`)
    return stats.isDirectory() ? 'folder' : 'other'
  } catch (error) {
    if (isMissing(error)) return undefined
    // A mount that is there and gives no answer.
    if (isCorrupt(error)) return 'unknown'
    throw error
  }
}

async function isSame(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([stat(one), stat(other)])
  return a.ino === b.ino && a.dev === b.dev && a.rdev === b.rdev
}

/** Unmounts all that is mounted there, one over the other; a link is not followed. @throws LinuxError EBUSY for instance */
export async function ensureUnmounted(target: string): Promise<void> {
  const place = await placeOf(target)
  if (place === undefined) return
  while (await isMounted(place)) {
    // One that is locked, in another user namespace for instance, would be asked for ever.
    if (!(await unmountSlowly(place))) throw new Error(`${target} is mounted, but cannot be unmounted`)
  }
}

/**
 * Makes the folder (or the empty file that a device is bound over), not those above.
 * @throws CsiError INVALID_ARGUMENT when something of another kind is there, or a link
 */
export async function ensureTarget(path: string, kind: 'folder' | 'file'): Promise<void> {
  const found = await look(path)
  if (kind === 'folder') {
    if (found === undefined) await mkdir(path, { mode: 0o750 })
    else if (found === 'other') throw new CsiError('INVALID_ARGUMENT', `${path}: it is no folder`)
    return
  }
  if (found === 'folder')
    throw new CsiError('INVALID_ARGUMENT', `${path}: it is a folder, and a device is bound over a file`)
  if (found === undefined) await (await open(path, 'a', 0o640)).close()
}

/** Unmounts and removes a target. Never what is in it, or where it leads: a folder that is not empty is an error. */
export async function removeTarget(path: string): Promise<void> {
  await ensureUnmounted(path)
  try {
    if ((await lstat(path)).isDirectory()) await rmdir(path)
    else await rm(path)
  } catch (error) {
    if (!isMissing(error)) throw error
  }
}
