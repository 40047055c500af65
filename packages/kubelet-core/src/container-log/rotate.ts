// Rotating one container's log.
import { createReadStream, createWriteStream } from 'node:fs'
import { access, link, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { packedName, planRotation, rotatedName, unfinishedName } from './rotation.ts'

export interface RotateOptions {
  maxFiles: number
  nowMs: number
  /** Makes the runtime write to a fresh file. */
  reopen(signal: AbortSignal): Promise<void>
  signal: AbortSignal
}

/**
 * Puts the log aside under the time's name, packs those put aside before and removes the oldest.
 * A crash at any point is mended by the next rotation. When the runtime does not reopen, the log has its name again.
 * @throws Error of the file system or the runtime
 */
export async function rotateLog(path: string, { maxFiles, nowMs, reopen, signal }: RotateOptions): Promise<void> {
  const folder = dirname(path)
  const log = basename(path)
  const { remove, pack } = planRotation(await readdir(folder), log, maxFiles)
  for (const name of remove) await rm(join(folder, name), { force: true })
  for (const name of pack) await packFile(folder, name, signal)
  const aside = join(folder, rotatedName(log, nowMs))
  if (await exists(aside)) return // twice in one second: the next look does it
  await rename(path, aside)
  try {
    await reopen(signal)
  } catch (error) {
    await giveBack(aside, path)
    throw error
  }
}

/** Unless the runtime has made a fresh file after all: what is in that one must not be lost. */
async function giveBack(aside: string, path: string): Promise<void> {
  try {
    await link(aside, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
    throw error
  }
  await rm(aside)
}

async function packFile(folder: string, name: string, signal: AbortSignal): Promise<void> {
  const temporary = join(folder, unfinishedName(name))
  const { mode } = await stat(join(folder, name))
  await pipeline(
    createReadStream(join(folder, name)),
    createGzip(),
    createWriteStream(temporary, { mode, flush: true }),
    { signal },
  )
  await rename(temporary, join(folder, packedName(name)))
  await rm(join(folder, name))
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch {
    // The usual case.
    return false
  }
}
