// Brings a file system's changes to the disk, once for all who ask at the same time.
import { execFile } from '../exec-file.ts'

/**
 * @param folder on the file system that is meant
 * @returns a function that waits until everything written before its call is on the disk. @throws Error
 */
export function createGroupSync(folder: string): () => Promise<void> {
  let running: Promise<void> | undefined
  let next: Promise<void> | undefined

  const sync = async (): Promise<void> => {
    const { code, stderr } = await execFile('sync', ['-f', folder])
    if (code !== 0) throw new Error(`sync -f ${folder}: ${stderr.trim()}`)
  }

  const begin = async (): Promise<void> => {
    next = undefined
    running = sync().finally(() => (running = undefined))
    return running
  }

  return async () => {
    if (!running) return begin()
    // The one that runs may have passed what the caller has written.
    next ??= running.then(begin, begin)
    return next
  }
}
