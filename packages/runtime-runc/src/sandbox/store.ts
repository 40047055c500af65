// The sandboxes' records on disk: one folder each.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { PodSandboxConfig } from '@nodelet/cri-api'
import { z } from 'zod'
import { removeFolder, writeJson } from '../files.ts'
import { readRecords } from '../record-folders.ts'
import type { FoundRecords } from '../record-folders.ts'
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

const RECORD = 'sandbox.json'

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
  await writeJson(join(folders.sandboxes, record.id, RECORD), { ...record, config })
}

export async function removeSandboxRecord(folders: SandboxFolders, id: string): Promise<void> {
  await removeFolder(join(folders.sandboxes, id))
}

/** Reads all records. What cannot be read is set aside and told of. */
export async function loadSandboxes(
  folders: SandboxFolders,
  onProblem: (error: Error) => void,
): Promise<FoundRecords<SandboxRecord>> {
  return readRecords(folders.sandboxes, { what: 'sandbox', file: RECORD, parse: parseRecord }, onProblem)
}

/** What every version wrote; the rest is taken as it is. */
const stored = z.looseObject({
  id: z.string(),
  config: z.record(z.string(), z.unknown()),
  phase: z.enum(['creating', 'ready', 'stopping', 'stopped']),
  removing: z.boolean(),
  bootId: z.string(),
  createdAt: z.number(),
  cgroupParent: z.string(),
  ownCgroup: z.boolean(),
  networkOwed: z.boolean(),
})

function parseRecord(text: string, id: string): SandboxRecord {
  const record = stored.parse(JSON.parse(text))
  if (record.id !== id) throw new Error(`it is of ${record.id}`)
  return { ...(record as unknown as SandboxRecord), config: PodSandboxConfig.fromJSON(record.config) }
}
