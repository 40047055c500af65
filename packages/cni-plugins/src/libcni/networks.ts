// The folder of network lists, followed by inotify.
import { existsSync, mkdirSync, watch } from 'node:fs'
import type { FSWatcher } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { CniLog, NetworkList } from '../types.ts'
import { parseListFile, withPlugins } from './conflist.ts'

/** The network of a folder: the first list by name. */
export interface Networks extends Disposable {
  /**
   * As of now; undefined when there is none. While what the folder says is broken: what it said before.
   *
   * @throws CniError naming file and field when nothing was right so far
   */
  current(): Promise<NetworkList | undefined>
}

/** How long files may change until they are read, in milliseconds: editors write more than once. */
const settleMs = 100

/** The folder is made when it is missing (0700, as containerd does). */
export function openNetworks(folder: string, log: CniLog): Networks {
  let watchers: FSWatcher[] = []
  let timer: NodeJS.Timeout | undefined
  let isKnown = false
  let known: NetworkList | undefined
  let reading: Promise<NetworkList | undefined> | undefined

  const forget = (): void => {
    for (const watcher of watchers) watcher.close()
    watchers = []
    isKnown = false
    reading = undefined
  }
  const tellBroken = (error: unknown): void => log.warn({ err: error, folder }, 'there is no network list to be used')
  const onChange = (): void => {
    forget()
    clearTimeout(timer)
    // Read without being asked for, so that what is broken is told at once.
    timer = setTimeout(() => void current().catch(tellBroken), settleMs).unref()
  }
  const follow = (path: string): boolean => {
    try {
      watchers.push(watch(path, { persistent: false }, onChange).on('error', onChange))
      return true
    } catch {
      return false
    }
  }

  const read = async (): Promise<NetworkList | undefined> => {
    forget()
    const own = watchers
    makeFolder(folder)
    // Before the look: what comes between is heard of.
    let isFollowed = follow(folder)
    let found = known
    try {
      found = await findNetworkList(folder, (beside) => {
        // One that is not there yet shows as a change of the folder that it will be in.
        if (watchers === own && existsSync(beside)) isFollowed = follow(beside) && isFollowed
      })
    } catch (error) {
      if (known === undefined) throw error
      log.warn({ err: error as Error, used: known.file }, 'a network list is broken: the former one stays in use')
    }
    // Else there was a change meanwhile, and a later look may be through already.
    if (watchers === own) [known, isKnown] = [found, isFollowed]
    return found
  }

  const current = async (): Promise<NetworkList | undefined> => {
    // A whole turn of the event loop: changes that the kernel has told of are heard.
    await setImmediate()
    await setImmediate()
    if (isKnown) return known
    if (reading) return reading
    const own = read()
    reading = own
    const end = (): void => {
      if (reading === own) reading = undefined
    }
    own.then(end, end)
    return own
  }

  return {
    current,
    [Symbol.dispose]: () => {
      clearTimeout(timer)
      forget()
    },
  }
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(dirname(folder), { recursive: true, mode: 0o755 })
    mkdirSync(folder, { mode: 0o700 })
  } catch {
    // It is there, or cannot be made: the look tells.
  }
}

/**
 * The first list of a folder, in order of the file names, with what is in the folder of the network's name; undefined when
 * there is none.
 *
 * @param onFolder is told of the folder beside before it is read. @throws CniError naming file and field
 */
export async function findNetworkList(
  folder: string,
  onFolder: (path: string) => void = () => undefined,
): Promise<NetworkList | undefined> {
  const [first] = await filesOf(folder, /\.(conf|conflist|json)$/)
  if (first === undefined) return undefined
  const { list, takesFolder } = parseListFile(await readFile(first, 'utf8'), first)
  if (!takesFolder) return list
  const beside = join(folder, list.name)
  onFolder(beside)
  const files = await filesOf(beside, /\.conf$/)
  return withPlugins(
    list,
    await Promise.all(files.map(async (file) => ({ file, content: await readFile(file, 'utf8') }))),
  )
}

/** Sorted; none when there is no such folder. */
async function filesOf(folder: string, pattern: RegExp): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true })
    const files = entries.filter((entry) => !entry.isDirectory() && pattern.test(entry.name))
    return files.map(({ name }) => join(folder, name)).toSorted()
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return []
    throw error
  }
}
