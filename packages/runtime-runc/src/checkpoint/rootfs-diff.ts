// What a container changed in its root file system, from the upper folder of its overlay mount.
import { lstat, readdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { getXattr, readMountInfo } from '@nodelet/linux'
import { isMissing } from '../files.ts'

export interface RootfsDiff {
  /** The folder that has what was changed. */
  upper: string
  /** Relative to that folder, parents first. */
  changed: string[]
  /** Absolute within the container. */
  deleted: string[]
}

/**
 * Undefined for a root file system that is no overlay mount: it is its owner's.
 *
 * @param except paths in the container where something is mounted: the OCI runtime made them
 * @throws Error when a folder was replaced and the layers below cannot be looked into.
 */
export async function readRootfsDiff(rootfs: string, except: ReadonlySet<string>): Promise<RootfsDiff | undefined> {
  const mount = (await readMountInfo()).findLast(({ mountPoint }) => mountPoint === rootfs)
  if (mount?.type !== 'overlay') return undefined
  const option = (name: string): string | undefined =>
    mount.superOptions.find((one) => one.startsWith(`${name}=`))?.slice(name.length + 1)
  const given = option('upperdir') ?? ''
  // A path that was too long was given relative to another folder.
  const upper = given.startsWith('/') ? given : join(dirname(rootfs), basename(given))
  const lowers = (option('lowerdir') ?? '').split(':').filter((path) => path !== '')
  const diff: RootfsDiff = { upper, changed: [], deleted: [] }
  await look(diff, '', lowers, except)
  return diff
}

async function look(
  diff: RootfsDiff,
  folder: string,
  lowers: readonly string[],
  except: ReadonlySet<string>,
): Promise<void> {
  const entries = await readdir(join(diff.upper, folder), { withFileTypes: true })
  if (folder !== '' && getXattr(join(diff.upper, folder), 'trusted.overlay.opaque')?.toString() === 'y') {
    const now = new Set(entries.map(({ name }) => name))
    const before = await namesBelow(lowers, folder)
    diff.deleted.push(...before.filter((name) => !now.has(name)).map((name) => join('/', folder, name)))
  }
  for (const entry of entries) {
    const path = join(folder, entry.name)
    if (except.has(join('/', path))) continue
    if (entry.isCharacterDevice() && (await lstat(join(diff.upper, path))).rdev === 0) {
      diff.deleted.push(join('/', path))
      continue
    }
    diff.changed.push(path)
    if (entry.isDirectory()) await look(diff, path, lowers, except)
  }
}

async function namesBelow(lowers: readonly string[], folder: string): Promise<string[]> {
  const names = await Promise.all(
    lowers.map(async (lower) => {
      try {
        await lstat(lower)
      } catch (cause) {
        throw new Error(`/${folder} was replaced, and what was in it is not known: layer ${lower} is not in view`, {
          cause,
        })
      }
      try {
        const entries = await readdir(join(lower, folder), { withFileTypes: true })
        return entries.filter((entry) => !entry.isCharacterDevice()).map(({ name }) => name)
      } catch (error) {
        if (isMissing(error) || (error as NodeJS.ErrnoException).code === 'ENOTDIR') return []
        throw error
      }
    }),
  )
  return [...new Set(names.flat())]
}
