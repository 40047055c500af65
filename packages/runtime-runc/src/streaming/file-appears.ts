// Waiting for a file by events.
import { existsSync, watch } from 'node:fs'
import { dirname } from 'node:path'

/** Whether the file is there before the other promise settles; its folder must exist. */
export async function fileAppears(path: string, unless: Promise<unknown>): Promise<boolean> {
  const there = Promise.withResolvers<void>()
  const look = (): void => {
    if (existsSync(path)) there.resolve()
  }
  const watcher = watch(dirname(path), look)
  watcher.on('error', look) // the folder is gone: `unless` will tell
  try {
    look()
    await Promise.race([there.promise, unless.catch(() => {})])
    return existsSync(path)
  } finally {
    watcher.close()
  }
}
