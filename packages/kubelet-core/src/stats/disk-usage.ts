// How much a folder takes on its disk.
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'

export interface DiskUsed {
  bytes: bigint
  inodes: bigint
}

const blockBytes = 512n
/** How many files are looked at together. */
const batch = 64

/**
 * Blocks and inodes of a folder and all below it: hard links once, links not followed, other file systems left out.
 * What vanishes meanwhile does not count; a folder that is not there takes nothing.
 * @throws the signal's reason
 */
export async function diskUsed(folder: string, signal?: AbortSignal): Promise<DiskUsed> {
  const total = { bytes: 0n, inodes: 0n }
  const linked = new Set<bigint>()
  let device: bigint | undefined
  const folders = [folder]

  /** @returns whether it is a folder to go into */
  const count = async (path: string): Promise<boolean> => {
    const stat = await orGone(lstat(path, { bigint: true }))
    if (!stat) return false
    device ??= stat.dev
    if (stat.dev !== device) return false
    const isFolder = stat.isDirectory()
    if (!isFolder && stat.nlink > 1n) {
      if (linked.has(stat.ino)) return false
      linked.add(stat.ino)
    }
    total.bytes += stat.blocks * blockBytes
    total.inodes += 1n
    return isFolder
  }

  await count(folder)
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    signal?.throwIfAborted()
    const names = (await orGone(readdir(next))) ?? []
    for (let begin = 0; begin < names.length; begin += batch) {
      const paths = names.slice(begin, begin + batch).map((name) => join(next as string, name))
      const into = await Promise.all(paths.map(count))
      folders.push(...paths.filter((_, index) => into[index]))
    }
  }
  return total
}

async function orGone<T>(look: Promise<T>): Promise<T | undefined> {
  try {
    return await look
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
}
