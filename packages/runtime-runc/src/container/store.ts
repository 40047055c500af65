// The containers' records on disk: one folder each.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ContainerConfig, LinuxContainerResources } from '@nodelet/cri-api'
import { z } from 'zod'
import { removeFolder, writeJson } from '../files.ts'
import { readRecords } from '../record-folders.ts'
import type { FoundRecords } from '../record-folders.ts'
import type { ContainerRecord } from './record.ts'

const RECORD = 'container.json'

/** The folders of a runtime. */
export interface Folders {
  /** Records and volumes, kept over a reboot. */
  containers: string
  bundles: string
  exits: string
  sockets: string
  runc: string
  /** What is shown to the OCI runtime while it makes a container. */
  shown: string
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
    shown: join(runDir, 'shown'),
  }
  // Pods in user namespaces pass through it, and through nothing below but what is shown.
  await mkdir(runDir, { recursive: true, mode: 0o711 })
  await mkdir(folders.shown, { recursive: true, mode: 0o711 })
  await Promise.all(Object.values(folders).map((path) => mkdir(path, { recursive: true, mode: 0o700 })))
  return folders
}

/** Makes a record durable. */
export async function saveRecord(folders: Folders, record: ContainerRecord): Promise<void> {
  const { pendingResources: pending } = record
  const config = ContainerConfig.toJSON(record.config)
  const pendingResources = pending && LinuxContainerResources.toJSON(pending)
  await writeJson(join(folders.containers, record.id, RECORD), { ...record, config, pendingResources })
}

/** Removes a record and the container's volumes. */
export async function removeRecord(folders: Folders, id: string): Promise<void> {
  await removeFolder(join(folders.containers, id))
}

/** Reads all records. What cannot be read is set aside and told of. */
export async function loadRecords(
  folders: Folders,
  onProblem: (error: Error) => void,
): Promise<FoundRecords<ContainerRecord>> {
  return readRecords(folders.containers, { what: 'container', file: RECORD, parse: parseRecord }, onProblem)
}

/** What every version wrote; the rest is taken as it is. */
const stored = z.looseObject({
  id: z.string(),
  sandboxId: z.string(),
  config: z.record(z.string(), z.unknown()),
  phase: z.enum(['creating', 'created', 'running', 'exited']),
  removing: z.boolean(),
  bootId: z.string(),
  createdAt: z.number(),
})

function parseRecord(text: string, id: string): ContainerRecord {
  const record = stored.parse(JSON.parse(text))
  if (record.id !== id) throw new Error(`it is of ${record.id}`)
  const { pendingResources: pending } = record
  return {
    ...(record as unknown as ContainerRecord),
    config: ContainerConfig.fromJSON(record.config),
    ...(pending ? { pendingResources: LinuxContainerResources.fromJSON(pending) } : {}),
  }
}
