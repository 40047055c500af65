// One runtime per state folder.
import { ftruncateSync, writeSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { lockFile } from '@nodelet/linux'

/**
 * Takes the folder, which is made when missing, until disposed. The kernel lets it go when this process ends, however it does.
 *
 * @throws Error naming the process that has it.
 */
export async function lockFolder(folder: string): Promise<AsyncDisposable> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, 'lock')
  const lock = lockFile(path)
  if (!lock) {
    const holder = Number.parseInt(await readFile(path, 'utf8'), 10)
    const who = Number.isNaN(holder) ? 'another process' : `process ${holder}`
    throw new Error(`${folder} is in use by ${who}: stop it or use another folder`)
  }
  // For the message above: the lock itself is the kernel's. The file stays, for one that is removed locks nothing.
  ftruncateSync(lock.fd)
  writeSync(lock.fd, String(process.pid))
  return { [Symbol.asyncDispose]: async () => lock[Symbol.dispose]() }
}
