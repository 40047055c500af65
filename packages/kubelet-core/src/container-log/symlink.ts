// `/var/log/containers`: a flat folder of links to the logs of containers, for agents that collect them.
import type { Dirent } from 'node:fs'
import { mkdir, readdir, rm, stat, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'

export interface LoggedContainer {
  pod: string
  namespace: string
  container: string
  id: string
  /** The file that the link leads to. */
  logPath: string
}

const longestName = 255

/** Beside the folder of pods' logs: `/var/log/pods` → `/var/log/containers`. */
export const symlinkFolder = (podLogsDir: string): string => join(dirname(podLogsDir), 'containers')

/** `POD_NAMESPACE_CONTAINER-ID.log`, cut before the ID where it would be too long for a file. */
export function symlinkName({ pod, namespace, container, id }: Omit<LoggedContainer, 'logPath'>): string {
  const end = `-${id}.log`
  return `${pod}_${namespace}_${container}`.slice(0, longestName - end.length) + end
}

/** Makes the link, or makes it anew. */
export async function linkLog(podLogsDir: string, container: LoggedContainer): Promise<void> {
  const folder = symlinkFolder(podLogsDir)
  const path = join(folder, symlinkName(container))
  await mkdir(folder, { recursive: true, mode: 0o755 })
  await rm(path, { force: true })
  await symlink(container.logPath, path)
}

/** Removes links that lead nowhere. */
export async function removeDeadLinks(podLogsDir: string): Promise<void> {
  const folder = symlinkFolder(podLogsDir)
  for (const entry of await entriesOf(folder)) {
    if (!entry.isSymbolicLink()) continue
    const path = join(folder, entry.name)
    try {
      await stat(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') await rm(path, { force: true })
      else throw error
    }
  }
}

/** None of a folder that is not there. */
export async function entriesOf(folder: string): Promise<Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
