// fsGroup: the group that owns what is in a volume.
import { chmod, lchown, lstat, readdir } from 'node:fs/promises'
import type { PodSecurityContext } from 'kubernetes-types/core/v1.d.ts'
import { hasCode } from '../errors.ts'

const setGid = 0o2000
const fileBits = 0o660
const folderBits = 0o770 | setGid

/** Gives a volume to the pod's fsGroup: read and write for the group, and new files inherit it. Links are not followed. */
export async function giveToGroup(
  root: string,
  { fsGroup, fsGroupChangePolicy }: PodSecurityContext,
  signal?: AbortSignal,
): Promise<void> {
  if (fsGroup === undefined) return
  if (fsGroupChangePolicy === 'OnRootMismatch' && (await matches(root, fsGroup))) return
  await give(Buffer.from(root), fsGroup, signal)
}

async function matches(root: string, gid: number): Promise<boolean> {
  const stats = await lstat(root)
  return stats.gid === gid && (stats.mode & folderBits) === folderBits
}

/** The root last: it matches only once all below it does. Paths are bytes: names need not be UTF-8. */
async function give(path: Buffer, gid: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted()
  try {
    const stats = await lstat(path)
    if (stats.isDirectory()) {
      for (const name of await readdir(path, { encoding: 'buffer' })) {
        await give(Buffer.concat([path, slash, name]), gid, signal)
      }
    }
    if (stats.gid !== gid) await lchown(path, stats.uid, gid)
    const mode = stats.mode & 0o7777
    const wanted = mode | (stats.isDirectory() ? folderBits : fileBits)
    // chown takes setgid away, hence chmod after it.
    if (!stats.isSymbolicLink() && (wanted !== mode || stats.gid !== gid)) await chmod(path, wanted)
  } catch (error) {
    // Containers of the pod may be at work in the volume.
    if (!hasCode(error, 'ENOENT')) throw error
  }
}

const slash = Buffer.from('/')
