// The sockets in a folder and the folders below it, as they come and go.
import { type BigIntStats, type FSWatcher, watch } from 'node:fs'
import { mkdir, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode } from '../errors.ts'

/** Path → what tells a socket from one that takes its place. */
export type Sockets = ReadonlyMap<string, string>

/**
 * Makes the folder when it is missing. Names that begin with a dot are passed over.
 * @param changed told of all that are there, now and after each change
 * @throws Error when the folder cannot be read or watched
 */
export async function followSockets(
  folder: string,
  changed: (sockets: Sockets) => void,
  onError: (error: Error) => void,
): Promise<AsyncDisposable> {
  /** A folder in the place of another one needs a watcher of its own. */
  const watched = new Map<string, { id: string; watcher: FSWatcher }>()
  let reading: Promise<void> | undefined
  let dirty = false
  let closed = false

  const ensureWatched = async (path: string): Promise<void> => {
    const id = idOf(await stat(path, { bigint: true }))
    if (watched.get(path)?.id === id) return
    watched.get(path)?.watcher.close()
    watched.set(path, { id, watcher: watch(path, look).on('error', onError) })
  }
  const enter = async (path: string, sockets: Map<string, string>, folders: Set<string>): Promise<void> => {
    // First the watcher, then the look: nothing is missed in between.
    await ensureWatched(path)
    folders.add(path)
    for (const entry of await readdir(path, { withFileTypes: true })) {
      if (entry.name.startsWith('.')) continue
      const child = join(path, entry.name)
      await unlessGone(async () => {
        if (entry.isDirectory()) return enter(child, sockets, folders)
        const stats = await stat(child, { bigint: true })
        if (stats.isSocket()) sockets.set(child, idOf(stats))
      })
    }
  }
  const read = async (): Promise<void> => {
    while (dirty && !closed) {
      dirty = false
      const [sockets, folders] = [new Map<string, string>(), new Set<string>()]
      await mkdir(folder, { recursive: true, mode: 0o755 })
      await enter(folder, sockets, folders)
      for (const [path, { watcher }] of watched) if (!folders.has(path) && watched.delete(path)) watcher.close()
      if (!closed) changed(sockets)
    }
  }
  const look = (): void => {
    dirty = true
    reading ??= read()
      .catch(onError)
      .finally(() => {
        reading = undefined
        if (dirty && !closed) look()
      })
  }
  const close = async (): Promise<void> => {
    closed = true
    await reading
    for (const { watcher } of watched.values()) watcher.close()
  }
  try {
    dirty = true
    await read()
  } catch (error) {
    await close()
    throw error
  }
  return { [Symbol.asyncDispose]: close }
}

const idOf = ({ dev, ino, birthtimeNs }: BigIntStats): string => `${dev}:${ino}:${birthtimeNs}`

/** What goes away between list and look is as good as not there. */
async function unlessGone(look: () => Promise<void>): Promise<void> {
  try {
    await look()
  } catch (error) {
    if (!hasCode(error, 'ENOENT') && !hasCode(error, 'ENOTDIR')) throw error
  }
}
