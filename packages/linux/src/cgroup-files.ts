// Reading and writing the files of cgroups.
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { LinuxError } from './errors.ts'

/** How often emptiness is looked at where the kernel has no event for it, in milliseconds. */
const lookMs = 5

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'EIO'
const isGone = (error: unknown): boolean => ['ENOENT', 'ENODEV', 'ENOTDIR'].includes(codeOf(error))

/** @throws RangeError for a path that leaves the hierarchy or is its root: that belongs to others */
export function folderOf(mountPoint: string, path: string): string {
  const parts = path.split('/').filter((part) => part !== '')
  if (!path.startsWith('/') || parts.length === 0 || parts.includes('..')) {
    throw new RangeError(`cgroup path ${JSON.stringify(path)}: must be absolute, below the root, and without ".."`)
  }
  return join(mountPoint, ...parts)
}

/** The root too may be looked at. @throws RangeError for a path that leaves the hierarchy */
export const folderToRead = (mountPoint: string, path: string): string =>
  path === '/' ? mountPoint : folderOf(mountPoint, path)

/**
 * Makes a folder, and those above it that are missing: the last is tried first, for mostly it is the only one.
 *
 * @param prepare what is done to the folder, and to each that was missing, the outermost first
 * @throws LinuxError
 */
export async function makeFolder(
  folder: string,
  prepare: (folder: string, parent: string) => Promise<void> = async () => undefined,
): Promise<void> {
  const parent = dirname(folder)
  try {
    await mkdir(folder)
  } catch (error) {
    if (codeOf(error) === 'ENOENT' && parent !== folder) {
      await makeFolder(parent, prepare)
      await makeFolder(folder, prepare)
      return
    }
    if (codeOf(error) !== 'EEXIST') throw new LinuxError(codeOf(error), 'mkdir', folder)
  }
  await prepare(folder, parent)
}

/** @throws LinuxError */
export async function put(folder: string, file: string, value: string | number): Promise<void> {
  try {
    await writeFile(join(folder, file), String(value), { flag: 'r+' })
  } catch (error) {
    throw new LinuxError(codeOf(error), 'write', `${value} to ${join(folder, file)}`)
  }
}

/** Undefined when there is no such file, or its cgroup has gone. @throws LinuxError */
export async function read(folder: string, file: string): Promise<string | undefined> {
  try {
    return (await readFile(join(folder, file), 'utf8')).trim()
  } catch (error) {
    if (isGone(error)) return undefined
    throw new LinuxError(codeOf(error), 'read', join(folder, file))
  }
}

/** Files of lines `key number`. */
export async function readTable(folder: string, file: string): Promise<Map<string, number>> {
  const lines = (await read(folder, file))?.split('\n') ?? []
  return new Map(lines.map((line) => line.split(' ')).map(([key = '', value]) => [key, Number(value)]))
}

export async function childrenOf(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
  } catch (error) {
    if (isGone(error)) return []
    throw new LinuxError(codeOf(error), 'readdir', folder)
  }
}

export async function processesIn(folder: string): Promise<number[]> {
  const lines = (await read(folder, 'cgroup.procs'))?.split('\n') ?? []
  return lines.filter((line) => line !== '').map(Number)
}

/** Processes of a folder and all below. */
export async function processesBelow(folder: string): Promise<number[]> {
  const own = await processesIn(folder)
  const below = await Promise.all((await childrenOf(folder)).map((name) => processesBelow(join(folder, name))))
  return [...own, ...below.flat()]
}

/** Removes a folder and all below. A cgroup stays busy for a moment after its last process: waits for that. */
export async function removeBelow(folder: string, signal: AbortSignal): Promise<void> {
  for (const name of await childrenOf(folder)) await removeBelow(join(folder, name), signal)
  for (;;) {
    try {
      await rmdir(folder)
      return
    } catch (error) {
      if (isGone(error)) return
      if (codeOf(error) !== 'EBUSY' || signal.aborted) throw new LinuxError(codeOf(error), 'rmdir', folder)
    }
    await pause()
  }
}

/** Waits for the next look. It is short, so an abort need not end it: the caller's next look sees that. */
export async function pause(): Promise<void> {
  await sleep(lookMs)
}

/** The caller's signal, or a deadline when there is none. */
export const deadline = (signal: AbortSignal | undefined): AbortSignal => signal ?? AbortSignal.timeout(10_000)

/** Ends processes; one that has ended meanwhile is fine. */
export function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch (error) {
      if (codeOf(error) !== 'ESRCH') throw error
    }
  }
}
