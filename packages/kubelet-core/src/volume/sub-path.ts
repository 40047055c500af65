// Sub paths of volumes: found without leaving the volume, and bound so that a later change of a link cannot move them.
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { mount, readMountInfo } from '@nodelet/linux'
import { hasCode } from '../errors.ts'
import { podFolders } from './folders.ts'
import { checkAnswers, mayHang } from '../storage/apart.ts'
import { mountsBelow, unmountBelow } from './mounts.ts'
import { removeEmptyEntry } from './remove-tree.ts'

// Node does not name O_PATH: the file is only held, neither read nor written.
const pathOnly = 0o1000_0000
const noFollow = constants.O_NOFOLLOW
const folderOnly = pathOnly | constants.O_DIRECTORY | noFollow

/** A sub path of a volume that one container mounts. */
export interface SubPath {
  rootDir: string
  podUid: string
  container: string
  volume: string
  /** Where the volume is on this host. */
  volumePath: string
  /** Relative, without `..`; variables already replaced. */
  subPath: string
  /** Position in the container's `volumeMounts`. */
  index: number
  /** What is missing is not made. */
  readOnly?: boolean
}

/**
 * Where a sub path leads, links resolved; a missing folder is made with the volume's own permissions.
 * Between this and its use a container may swap a link: mount what {@link bindSubPath} answers instead.
 *
 * @throws Error when it is not relative, or a link leads out of the volume
 */
export function resolveSubPath(volumePath: string, subPath: string, { make = true }: { make?: boolean } = {}): string {
  const held = hold(volumePath, subPath, make)
  closeSync(held.fd)
  return held.path
}

/**
 * The text of a file of a volume, which no link leads out of; undefined when it is not there.
 *
 * @throws Error when it is no file, is larger than `maxBytes`, or a link leads out of the volume
 */
export function readSubPath(volumePath: string, subPath: string, maxBytes: number): string | undefined {
  let held: ReturnType<typeof hold>
  try {
    held = hold(volumePath, subPath, false)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
  try {
    const stats = fstatSync(held.fd)
    if (!stats.isFile()) throw new Error(`${subPath} is not a file`)
    if (stats.size > maxBytes) throw new Error(`${subPath} has ${stats.size} bytes: more than ${maxBytes} are not read`)
    return readFileSync(`/proc/self/fd/${held.fd}`, 'utf8')
  } finally {
    closeSync(held.fd)
  }
}

/**
 * Binds a sub path to `pods/UID/volume-subpaths/VOLUME/CONTAINER/INDEX` and returns that. Safe to run again: a bind of the same
 * file stays. The volume manager's `unmount` takes it away.
 *
 * @throws Error in upstream's words
 */
export async function bindSubPath(options: SubPath): Promise<string> {
  const { rootDir, podUid, container, volume, index } = options
  const { pod, own, subPaths } = podFolders(realpathSync(rootDir), podUid)
  const target = join(subPaths, volume, container, String(index))
  try {
    await checkAnswering(options.volumePath)
    const held = hold(options.volumePath, options.subPath, !options.readOnly)
    try {
      const mounted = await mountsBelow(target)
      if (mounted.some(({ mountPoint }) => mountPoint === target) && isSame(target, held.fd)) return target
      if (mounted.length > 0) await unmountBelow(target, own)
      refuseLinks(pod, target)
      // What was there before may have been a file, and this a folder.
      await removeEmptyEntry(target)
      prepareTarget(target, fstatSync(held.fd).isDirectory())
      mount({ source: `/proc/self/fd/${held.fd}`, target, options: ['bind'] })
      return target
    } finally {
      closeSync(held.fd)
    }
  } catch (cause) {
    const what = `volumeMount "${volume}" of container "${container}"`
    throw new Error(
      `failed to prepare subPath for ${what}: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        cause,
      },
    )
  }
}

/** What would have this process wait for a server is asked by another one first. @throws Error when there is no answer */
async function checkAnswering(path: string): Promise<void> {
  const above = (await readMountInfo()).filter(({ mountPoint }) => `${path}/`.startsWith(`${mountPoint}/`))
  const deepest = Math.max(...above.map(({ mountPoint }) => mountPoint.length))
  const mount = above.findLast(({ mountPoint }) => mountPoint.length === deepest)
  if (mayHang(mount?.type ?? '')) await checkAnswers(path)
}

/** One that lost its file, as those of a server may, shows nothing. */
function isSame(target: string, fd: number): boolean {
  try {
    const [there, held] = [statSync(target), fstatSync(fd)]
    return there.dev === held.dev && there.ino === held.ino
  } catch (error) {
    if (['ESTALE', 'ENOTCONN', 'EIO', 'EACCES', 'EHOSTDOWN', 'ENODEV'].some((code) => hasCode(error, code)))
      return false
    throw error
  }
}

/**
 * A container that has the pod's folder as a hostPath could have the kernel mount anywhere.
 * @throws Error naming a link on the way from the pod's folder
 */
export function refuseLinks(pod: string, target: string): void {
  let path = pod
  for (const name of relative(pod, target).split('/')) {
    path = join(path, name)
    if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink())
      throw new Error(`${path} is a link, which is not followed`)
  }
}

function prepareTarget(target: string, folder: boolean): void {
  mkdirSync(dirname(target), { recursive: true, mode: 0o750 })
  if (folder) mkdirSync(target, { recursive: true, mode: 0o750 })
  else writeFileSync(target, '', { flag: 'a', mode: 0o640 })
}

/** Opens the sub path component by component, without following links; the caller closes. */
function hold(volumePath: string, subPath: string, make: boolean): { fd: number; path: string } {
  const parts = subPath.split('/').filter((part) => part !== '' && part !== '.')
  if (subPath.startsWith('/') || parts.includes('..')) {
    throw new Error(`subPath ${JSON.stringify(subPath)} must be relative and must not contain '..'`)
  }
  const root = realpathSync(volumePath)
  const { found, missing } = longestFound(root, parts)
  const inside = relative(root, found)
  if (inside === '..' || inside.startsWith('../')) {
    throw new Error(`subPath ${JSON.stringify(subPath)} leads to ${found}, which is not within volume path ${root}`)
  }
  if (missing.length > 0 && !make) {
    const problem = new Error(`subPath ${JSON.stringify(subPath)} is not there: ${found}`)
    throw Object.assign(problem, { code: 'ENOENT' })
  }
  let fd = openSync(root, folderOnly & ~noFollow)
  try {
    const { mode } = fstatSync(fd)
    for (const name of inside.split('/').filter(Boolean)) fd = step(fd, name, pathOnly | noFollow)
    for (const name of missing) fd = makeStep(fd, name, mode & 0o7777)
    if (fstatSync(fd).isSymbolicLink()) throw new Error(`${subPath} became a link while it was opened`)
    return { fd, path: join(found, ...missing) }
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** The part that is there, resolved, and the names that are not. */
function longestFound(root: string, parts: readonly string[]): { found: string; missing: string[] } {
  for (let count = parts.length; count > 0; count -= 1) {
    try {
      return { found: realpathSync(join(root, ...parts.slice(0, count))), missing: parts.slice(count) }
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error
    }
  }
  return { found: root, missing: [...parts] }
}

/** openat(2) by way of /proc; lets the parent go. */
function step(parent: number, name: string, flags: number): number {
  const child = openSync(`/proc/self/fd/${parent}/${name}`, flags)
  closeSync(parent)
  return child
}

function makeStep(parent: number, name: string, mode: number): number {
  const path = `/proc/self/fd/${parent}/${name}`
  let made = true
  try {
    mkdirSync(path)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
    made = false
  }
  if (made) {
    const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | noFollow)
    try {
      fchmodSync(fd, mode)
    } finally {
      closeSync(fd)
    }
  }
  return step(parent, name, folderOnly)
}
