// What the driver knows, in one file that is always whole: volumes, snapshots and where they are in use.
import { open, readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import type { ContentSource } from '../sdk/types.ts'

/** Where the bytes are: a folder of the machine, or a file with a file system or a block device's content. */
export type Backing = 'folder' | 'image'

/** What a volume and a snapshot of it have in common. */
export interface Content {
  /** Name of the folder or file below `volumes` or `snapshots`; a UUID. */
  data: string
  backing: Backing
  isBlock: boolean
  /** `ext4` or `xfs`; empty for folders and devices. */
  fsType: string
  /** Bytes. */
  sizeBytes: number
  /** Number of the project whose quota keeps the size of a folder, where there are quotas. */
  project?: number
}

export interface Published {
  targetPath: string
  readOnly: boolean
  /** No other target beside this one: of the modes for one node, only SINGLE_NODE_MULTI_WRITER has more. */
  isExclusive: boolean
}

export interface VolumeRecord extends Content {
  id: string
  name: string
  /** Of the capacities that the driver was given; empty when it has none. */
  kind: string
  source?: ContentSource
  /** It was made by its publish, and goes with its unpublish. */
  isEphemeral: boolean
  /** The file system may be smaller than the image, and grows with the next stage or expand. */
  grows: boolean
  /** Whoever asked for that, all of it goes. */
  isDeleting: boolean
  attached?: { readOnly: boolean }
  stagingPath?: string
  published: Published[]
}

export interface SnapshotRecord extends Content {
  id: string
  name: string
  sourceVolumeId: string
  /** ISO 8601. */
  createdAt: string
  isDeleting: boolean
}

/** By id. */
export interface State {
  volumes: Map<string, VolumeRecord>
  snapshots: Map<string, SnapshotRecord>
}

export interface Records {
  readonly current: Readonly<State>
  /** Changes one after the other: what `work` does to its copy is on disk before anyone sees it, or, when it throws, forgotten. */
  change<T>(work: (state: State) => T): Promise<T>
}

const fileName = 'state.json'

/**
 * @param folder is there, and has `volumes` and `snapshots`
 * @throws Error when the file is damaged, or is gone while there are data: nothing is guessed about somebody's data
 */
export async function openRecords(folder: string): Promise<Records> {
  const path = join(folder, fileName)
  let current = await readState(folder, path)
  let last: Promise<unknown> = writeState(folder, path, current)
  await last
  return {
    get current() {
      return current
    },
    change: async (work) => {
      const change = last.then(async () => {
        const next = structuredClone(current)
        const answer = work(next)
        await writeState(folder, path, next)
        current = next
        return answer
      })
      last = change.catch(() => undefined) // told to who asked for that change
      return change
    },
  }
}

async function readState(folder: string, path: string): Promise<State> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (text !== undefined) return parseState(path, text)
  for (const kind of ['volumes', 'snapshots']) {
    if ((await readdir(join(folder, kind))).length === 0) continue
    throw new Error(`${path} is not there, but ${join(folder, kind)} has data: bring it back, or move the data away`)
  }
  return { volumes: new Map(), snapshots: new Map() }
}

async function writeState(folder: string, path: string, state: State): Promise<void> {
  const plain = { version: 1, volumes: [...state.volumes.values()], snapshots: [...state.snapshots.values()] }
  const file = await open(`${path}.new`, 'w', 0o600)
  try {
    await file.writeFile(`${JSON.stringify(plain, undefined, 2)}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(`${path}.new`, path)
  const parent = await open(folder)
  try {
    await parent.sync()
  } finally {
    await parent.close()
  }
}

type Check = (value: unknown) => boolean
const isText: Check = (value) => typeof value === 'string'
const isFlag: Check = (value) => typeof value === 'boolean'
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const maybe =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value)
const has =
  (fields: Record<string, Check>): Check =>
  (value) =>
    isObject(value) && Object.entries(fields).every(([name, check]) => check(value[name]))

const contentFields: Record<string, Check> = {
  id: isText,
  name: isText,
  // It becomes part of a path.
  data: (value) => typeof value === 'string' && /^[0-9a-f-]{36}$/.test(value),
  backing: (value) => value === 'folder' || value === 'image',
  isBlock: isFlag,
  fsType: isText,
  sizeBytes: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
  isDeleting: isFlag,
}
const published = has({ targetPath: isText, readOnly: isFlag, isExclusive: isFlag })
const fieldsOf: Record<keyof State, Record<string, Check>> = {
  volumes: {
    ...contentFields,
    kind: isText,
    source: maybe(has({ kind: isText, id: isText })),
    isEphemeral: isFlag,
    grows: isFlag,
    project: maybe((value) => Number.isSafeInteger(value) && (value as number) > 0),
    attached: maybe(has({ readOnly: isFlag })),
    stagingPath: maybe(isText),
    published: (value) => Array.isArray(value) && value.every(published),
  },
  snapshots: { ...contentFields, sourceVolumeId: isText, createdAt: isText },
}

const byId = <R extends { id: string }>(records: readonly R[]): Map<string, R> =>
  new Map(records.map((each) => [each.id, each]))

/** @throws Error that names the field */
export function parseState(path: string, text: string): State {
  const damaged = (what: string): Error => new Error(`${path} is damaged: ${what}`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw damaged((error as Error).message)
  }
  if (!isObject(value) || value['version'] !== 1) throw damaged('version is not 1')
  for (const [kind, fields] of Object.entries(fieldsOf)) {
    const records = value[kind]
    if (!Array.isArray(records)) throw damaged(`${kind} is not a list`)
    for (const [at, record] of (records as unknown[]).entries()) {
      if (!isObject(record)) throw damaged(`${kind}[${at}] is not an object`)
      const wrong = Object.entries(fields).find(([name, check]) => !check(record[name]))
      if (wrong) throw damaged(`${kind}[${at}].${wrong[0]} is ${JSON.stringify(record[wrong[0]])}`)
    }
  }
  const { volumes, snapshots } = value as unknown as { volumes: VolumeRecord[]; snapshots: SnapshotRecord[] }
  return { volumes: byId(volumes), snapshots: byId(snapshots) }
}
