// The containers' records on disk: one folder each.
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ContainerConfig } from '@nodelet/cri-api'
import { writeJson } from '../files.ts'
import type { ContainerRecord } from './record.ts'

/** An ID as made here: 64 hexadecimal digits. */
export const isContainerId = (name: string): boolean => /^[0-9a-f]{64}$/.test(name)

/** The folders of a runtime. */
export interface Folders {
  /** Records and volumes, kept over a reboot. */
  containers: string
  bundles: string
  exits: string
  sockets: string
  runc: string
}

/**
 * Names and makes the folders.
 *
 * @throws Error when `runDir` is too long for the attach sockets below it.
 */
export async function makeFolders(stateDir: string, runDir: string): Promise<Folders> {
  const sockets = join(runDir, 's')
  const longest = join(sockets, '0'.repeat(64), 'attach')
  if (Buffer.byteLength(longest) > 107) {
    throw new Error(
      `${runDir} is too long for unix sockets below it (${longest.length} > 107 bytes): use a shorter runDir`,
    )
  }
  const folders = {
    containers: join(stateDir, 'containers'),
    bundles: join(runDir, 'bundles'),
    exits: join(runDir, 'exits'),
    sockets,
    runc: join(runDir, 'runc'),
  }
  await Promise.all(Object.values(folders).map((path) => mkdir(path, { recursive: true, mode: 0o700 })))
  return folders
}

/** Makes a record durable. */
export async function saveRecord(folders: Folders, record: ContainerRecord): Promise<void> {
  const config = ContainerConfig.toJSON(record.config)
  await writeJson(join(folders.containers, record.id, 'container.json'), { ...record, config })
}

/** Removes a record and the container's volumes. */
export async function removeRecord(folders: Folders, id: string): Promise<void> {
  await rm(join(folders.containers, id), { recursive: true, force: true })
}

/** Reads all records. A folder without a readable one is set aside as `ID.damaged` and told of. */
export async function loadRecords(folders: Folders, onProblem: (error: Error) => void): Promise<ContainerRecord[]> {
  const ids = (await readdir(folders.containers)).filter(isContainerId)
  const records = await Promise.all(
    ids.map(async (id) => {
      const folder = join(folders.containers, id)
      try {
        const stored = JSON.parse(await readFile(join(folder, 'container.json'), 'utf8')) as ContainerRecord
        return { ...stored, config: ContainerConfig.fromJSON(stored.config) }
      } catch (cause) {
        await rename(folder, `${folder}.damaged`)
        onProblem(new Error(`container ${id} has no readable record: its folder is now ${folder}.damaged`, { cause }))
        return undefined
      }
    }),
  )
  return records.filter((record) => record !== undefined)
}
