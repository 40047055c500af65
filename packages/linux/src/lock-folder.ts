// Folders of state that one process has to itself.
import { ftruncateSync, writeSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { lockFile } from './lock-file.ts'

/** A program that its holder was starting when it was killed has the lock until it is executed: that takes milliseconds. */
const heirMs = 5000
const tryMs = 10

/**
 * Takes the folder, which is made when missing, until disposed. The kernel lets it go when this process ends, however it does.
 *
 * @throws Error naming the process that has it, or of the file system: then nobody has it
 */
export async function lockFolder(folder: string): Promise<Disposable> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, 'lock')
  const patience = AbortSignal.timeout(heirMs)
  for (;;) {
    const lock = lockFile(path)
    if (lock) return signed(lock)
    const holder = Number.parseInt(await readFile(path, 'utf8'), 10)
    if (patience.aborted || !(await hasEnded(holder))) {
      const who = Number.isNaN(holder) ? 'another process' : `process ${holder}`
      throw new Error(`${folder} is in use by ${who}: stop it or use another folder`)
    }
    await sleep(tryMs)
  }
}

/** For the message above: the lock itself is the kernel's. The file stays, for one that is removed locks nothing. */
function signed(lock: Disposable & { fd: number }): Disposable {
  try {
    ftruncateSync(lock.fd)
    writeSync(lock.fd, String(process.pid))
    return lock
  } catch (error) {
    lock[Symbol.dispose]()
    throw error
  }
}

async function hasEnded(pid: number): Promise<boolean> {
  if (Number.isNaN(pid)) return false
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    return /^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch {
    return true
  }
}
