// Removing logs that nobody can ask for any more.
import { rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isPodUid } from '../volume/folders.ts'
import { entriesOf, removeDeadLinks } from './symlink.ts'

/** Removes the log of a container that was removed, and what was rotated of it. @param path of the live file */
export async function removeContainerLog(path: string): Promise<void> {
  if (!path) return
  const [folder, log] = [dirname(path), basename(path)]
  for (const { name } of await entriesOf(folder)) {
    if (name === log || name.startsWith(`${log}.`)) await rm(join(folder, name), { force: true })
  }
}

/** Removes the log folders, `NAMESPACE_NAME_UID`, of pods that are gone; then the links that lead nowhere. */
export async function removeStaleLogs(podLogsDir: string, isGone: (podUid: string) => boolean): Promise<void> {
  for (const entry of await entriesOf(podLogsDir)) {
    const uid = entry.name.split('_')[2] ?? ''
    if (!entry.isDirectory() || !isPodUid(uid) || !isGone(uid)) continue
    await rm(join(podLogsDir, entry.name), { recursive: true, force: true })
  }
  await removeDeadLinks(podLogsDir)
}
