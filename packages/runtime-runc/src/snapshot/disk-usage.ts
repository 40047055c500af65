// How much of the disk folders take, measured by another process and never while somebody waits for a known one.
import { execFile } from '../exec-file.ts'

/** What a folder and all below take: hard links are counted once. */
export interface DiskUsage {
  bytes: number
  inodes: number
  /** When it was measured, in milliseconds since the epoch. */
  at: number
}

export interface DiskUsageMeter {
  /**
   * The last measures of folders, by key. One that was never measured is measured now, for at most a second; older ones
   * are measured anew in the background. What has gone is left out.
   */
  of(folders: ReadonlyMap<string, string>): Promise<ReadonlyMap<string, DiskUsage>>
  forget(key: string): void
}

/** How old a measure may be, in milliseconds. */
const freshMs = 10_000
const patienceMs = 1000
/** A command line takes so many paths with room to spare. */
const foldersPerRun = 500

export function createDiskUsageMeter(onProblem: (error: Error) => void): DiskUsageMeter {
  const measures = new Map<string, DiskUsage>()
  let round: Promise<void> | undefined

  const measureAll = async (folders: readonly (readonly [string, string])[]): Promise<void> => {
    for (let at = 0; at < folders.length; at += foldersPerRun) {
      const some = folders.slice(at, at + foldersPerRun)
      const paths = some.map(([, path]) => path)
      const [bytes, inodes] = await Promise.all([du('-B1', paths), du('--inodes', paths)])
      for (const [key, path] of some) {
        const [size, count] = [bytes.get(path), inodes.get(path)]
        if (size === undefined || count === undefined) measures.delete(key)
        else measures.set(key, { bytes: size, inodes: count, at: Date.now() })
      }
    }
  }
  /** One round at a time: a slow disk is not asked again before it has answered. */
  const start = (folders: readonly (readonly [string, string])[]): Promise<void> => {
    round ??= measureAll(folders)
      .catch((error: Error) => onProblem(error))
      .finally(() => (round = undefined))
    return round
  }

  /** A round that runs may not have the new ones: then another one is for them. */
  const measureNew = async (folders: ReadonlyMap<string, string>, signal: AbortSignal): Promise<void> => {
    for (let isOwn = false; !isOwn && !signal.aborted;) {
      const missing = [...folders].filter(([key]) => !measures.has(key))
      if (missing.length === 0) return
      isOwn = round === undefined
      await start(missing)
    }
  }

  return {
    of: async (folders) => {
      if ([...folders.keys()].some((key) => !measures.has(key))) {
        const over = Promise.withResolvers<void>()
        const patience = AbortSignal.timeout(patienceMs)
        patience.addEventListener('abort', () => over.resolve(), { once: true })
        await Promise.race([measureNew(folders, patience), over.promise])
      }
      const isOld = (key: string): boolean => (measures.get(key)?.at ?? 0) < Date.now() - freshMs
      if ([...folders.keys()].some(isOld)) void start([...folders])
      return new Map(
        [...folders.keys()].flatMap((key) => {
          const measure = measures.get(key)
          return measure ? [[key, measure] as const] : []
        }),
      )
    },
    forget: (key) => void measures.delete(key),
  }
}

/** What a folder takes now. @throws Error when du can't tell */
export async function diskUsageOf(folder: string): Promise<Omit<DiskUsage, 'at'>> {
  const [sizes, counts] = await Promise.all([du('-B1', [folder]), du('--inodes', [folder])])
  const [bytes, inodes] = [sizes.get(folder), counts.get(folder)]
  if (bytes === undefined || inodes === undefined) throw new Error(`du does not tell how much ${folder} takes`)
  return { bytes, inodes }
}

/** What du prints, by path. It ends with 1 when files vanish while it looks: what it found still counts. */
async function du(unit: string, paths: readonly string[]): Promise<Map<string, number>> {
  const { stdout } = await execFile('du', ['-s', '-x', unit, '--', ...paths])
  const lines = stdout.split('\n').map((line) => line.split('\t'))
  return new Map(lines.flatMap(([amount, path]) => (path === undefined ? [] : [[path, Number(amount)] as const])))
}
