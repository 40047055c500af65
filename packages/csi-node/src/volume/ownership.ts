// fsGroup: the group that owns what is in a volume.
import { chmod, lchown, lstat, readdir } from 'node:fs/promises'
import { hasCode } from '../errors.ts'

const setGid = 0o2000
const fileBits = 0o660
const folderBits = 0o770 | setGid
/** Of one folder so many entries are changed at a time. */
const width = 16
const [firstTellMs, tellMs] = [30_000, 60_000]

export interface OwnershipOptions {
  gid: number
  /** `OnRootMismatch`: nothing is changed when the root is as it should be. Default: `Always`. */
  policy?: string | undefined
  signal?: AbortSignal | undefined
  /** Told of a file that could not be changed; without it the first one is thrown. */
  failed?: ((path: string, error: unknown) => void) | undefined
  /** Told how many files were changed, when it takes long: after half a minute, and then each minute. */
  progress?: ((count: number) => void) | undefined
}

/**
 * Gives a volume to a group: read and write for it, and new files inherit it. Children first, the root last, so that it is right only
 * when all is; links are not followed.
 */
export async function giveToGroup(root: string, options: OwnershipOptions): Promise<void> {
  if (options.policy === 'OnRootMismatch' && (await matches(root, options.gid))) return
  const walk = { ...options, count: 0 }
  let timer: NodeJS.Timeout | undefined
  const tell = (): void => {
    walk.progress?.(walk.count)
    timer = setTimeout(tell, tellMs).unref()
  }
  if (walk.progress) timer = setTimeout(tell, firstTellMs).unref()
  try {
    await give(Buffer.from(root), walk)
  } finally {
    clearTimeout(timer)
  }
}

interface Walk extends OwnershipOptions {
  count: number
}

async function matches(root: string, gid: number): Promise<boolean> {
  const stats = await lstat(root)
  return stats.gid === gid && (stats.mode & folderBits) === folderBits
}

/** Paths are bytes: names need not be UTF-8. */
async function give(path: Buffer, walk: Walk): Promise<void> {
  walk.signal?.throwIfAborted()
  try {
    const stats = await lstat(path)
    if (stats.isDirectory()) {
      const names = await readdir(path, { encoding: 'buffer' })
      for (let begin = 0; begin < names.length; begin += width) {
        const some = names.slice(begin, begin + width)
        await Promise.all(some.map(async (name) => give(Buffer.concat([path, slash, name]), walk)))
      }
    }
    if (stats.gid !== walk.gid) await lchown(path, stats.uid, walk.gid)
    const mode = stats.mode & 0o7777
    const wanted = mode | (stats.isDirectory() ? folderBits : fileBits)
    // chown takes setgid away, hence chmod after it.
    if (!stats.isSymbolicLink() && (wanted !== mode || stats.gid !== walk.gid)) await chmod(path, wanted)
    walk.count++
  } catch (error) {
    walk.signal?.throwIfAborted()
    // Containers of the pod may be at work in the volume.
    if (hasCode(error, 'ENOENT')) return
    if (!walk.failed) throw error
    walk.failed(path.toString(), error)
  }
}

const slash = Buffer.from('/')
