// The sandboxes' records on disk: one folder each.
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { PodSandboxConfig } from '@nodelet/cri-api'
import { writeJson } from '../files.ts'
import type { SandboxRecord } from './record.ts'

/** The folders of a runtime's sandboxes. */
export interface SandboxFolders {
  /** Records, kept over a reboot. */
  sandboxes: string
  /** Files that containers see, and their /dev/shm. */
  pods: string
  /** Pinned namespaces; a mount of its own that no container can bind. */
  namespaces: string
}

export const isSandboxId = (name: string): boolean => /^[0-9a-f]{64}$/.test(name)

/** Names and makes the folders. */
export async function makeSandboxFolders(stateDir: string, runDir: string): Promise<SandboxFolders> {
  const folders = {
    sandboxes: join(stateDir, 'sandboxes'),
    pods: join(runDir, 'pods'),
    namespaces: join(runDir, 'ns'),
  }
  await Promise.all(Object.values(folders).map((path) => mkdir(path, { recursive: true, mode: 0o700 })))
  return folders
}

/** Makes a record durable. */
export async function saveSandbox(folders: SandboxFolders, record: SandboxRecord): Promise<void> {
  const config = PodSandboxConfig.toJSON(record.config)
  await writeJson(join(folders.sandboxes, record.id, 'sandbox.json'), { ...record, config })
}

export async function removeSandboxRecord(folders: SandboxFolders, id: string): Promise<void> {
  await rm(join(folders.sandboxes, id), { recursive: true, force: true })
}

/** Reads all records. A folder without a readable one is set aside as `ID.damaged` and told of. */
export async function loadSandboxes(
  folders: SandboxFolders,
  onProblem: (error: Error) => void,
): Promise<SandboxRecord[]> {
  const ids = (await readdir(folders.sandboxes)).filter(isSandboxId)
  const records = await Promise.all(
    ids.map(async (id) => {
      const folder = join(folders.sandboxes, id)
      try {
        const stored = JSON.parse(await readFile(join(folder, 'sandbox.json'), 'utf8')) as SandboxRecord
        return { ...stored, config: PodSandboxConfig.fromJSON(stored.config) }
      } catch (cause) {
        await rename(folder, `${folder}.damaged`)
        onProblem(new Error(`sandbox ${id} has no readable record: its folder is now ${folder}.damaged`, { cause }))
        return undefined
      }
    }),
  )
  return records.filter((record) => record !== undefined)
}
