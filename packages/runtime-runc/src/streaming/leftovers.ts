// Programs whose client was served by a former life of this process: nobody reads them any more.
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Folders } from '../container/store.ts'
import { isMissing, readText } from '../files.ts'

/** Folders of programs with a client, in a container's bundle, begin so. */
export const streamFolderPrefix = 'stream-'

/** Kills such programs, each with its process group, and removes their folders. */
export async function endLeftovers({ bundles }: Folders): Promise<void> {
  await Promise.all((await readdir(bundles)).map((id) => endIn(join(bundles, id), id)))
}

async function endIn(bundle: string, id: string): Promise<void> {
  const names = (await namesIn(bundle)).filter((name) => name.startsWith(streamFolderPrefix))
  for (const folder of names.map((name) => join(bundle, name))) {
    const pid = Number((await readText(join(folder, 'pid'))) ?? 0)
    if (pid > 1 && (await isOf(pid, id))) kill(pid)
    await rm(folder, { recursive: true, force: true })
  }
}

/** Whether the process is in the container: its number may have passed to another since. */
async function isOf(pid: number, id: string): Promise<boolean> {
  return ((await readText(`/proc/${pid}/cgroup`)) ?? '').includes(id)
}

function kill(pid: number): void {
  for (const target of [-pid, pid]) {
    try {
      process.kill(target, 'SIGKILL')
    } catch {
      // gone since the look, or leader of no group: the other target covers it
    }
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (isMissing(error)) return [] // the container has just been removed
    throw error
  }
}
