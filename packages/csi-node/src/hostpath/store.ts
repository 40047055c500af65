// Volumes and snapshots as folders and files below the driver's own folder. Each is made aside and then moved to its place.
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, open, readdir, rename, rm, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { limitProject, projectUse, readMountInfo, setProject, whyNoProjectQuota } from '@nodelet/linux'
import { CsiError } from '../sdk/errors.ts'
import { isMounted } from '../sdk/mounting.ts'
import { copy, format, freeze, unfreeze, unfreezeIfFrozen } from './programs.ts'
import { type Content, openRecords, type Records, type State } from './records.ts'

export type Place = 'volumes' | 'snapshots'

export interface Store {
  readonly records: Records
  /** Why the sizes of folders are not kept; undefined: they are. */
  readonly noQuotas: Error | undefined
  /** A project of a folder whose size is to be kept; undefined where there are no quotas. */
  newProject(): number | undefined
  /** Has the folder of a project hold as much as the content says. */
  limit(content: Content): void
  /** Of the folder or image. */
  pathOf(place: Place, content: Content): string
  /**
   * Makes the bytes, empty or as those of `source`, then the record, so that a kill leaves both or neither.
   * `add` may throw: nothing is left of the bytes then.
   */
  make(
    place: Place,
    content: Content,
    source: { path: string; frozenAt?: string } | undefined,
    add: (state: State) => void,
    signal: AbortSignal,
  ): Promise<void>
  /** Bytes and record. A kill half-way is finished by the next `openStore`. Fine when there is no such record. */
  remove(place: Place, id: string): Promise<void>
}

/** Projects of the driver have numbers from here on: kubelets have them from 2^20. */
const firstProject = 2 ** 30

export const newContentName = (): string => randomUUID()

/** Opens the driver's folder, and finishes what a kill left half-done. @throws Error when its state is damaged */
export async function openStore(folder: string): Promise<Store> {
  for (const name of ['volumes', 'snapshots', 'making']) {
    await mkdir(join(folder, name), { recursive: true, mode: 0o700 })
  }
  const records = await openRecords(folder)
  const making = (content: Content): string => join(folder, 'making', content.data)
  const pathOf = (place: Place, content: Content): string => join(folder, place, content.data)
  const noQuotas = whyNoProjectQuota(folder)
  let lastProject = Math.max(firstProject, ...[...records.current.volumes.values()].map(({ project = 0 }) => project))
  const limit = ({ project, sizeBytes }: Content): void => {
    if (project !== undefined && !noQuotas) limitProject(folder, project, sizeBytes)
  }
  const store: Store = {
    records,
    noQuotas,
    newProject() {
      if (noQuotas) return undefined
      // Numbers are of the whole file system: others may have some.
      do lastProject++
      while (projectUse(folder, lastProject).inodes > 0)
      return lastProject
    },
    limit,
    pathOf,
    make: async (place, content, source, add, signal) => {
      const path = making(content)
      try {
        await fill(path, content, source, limit, signal)
        await records.change(add)
      } catch (error) {
        await removeData(path)
        limit({ ...content, sizeBytes: 0 })
        throw error
      }
      await rename(path, pathOf(place, content))
    },
    remove: async (place, id) => {
      const record = records.current[place].get(id)
      if (!record) return
      await records.change((state) => {
        const found = state[place].get(id)
        if (found) found.isDeleting = true
      })
      await removeData(pathOf(place, record))
      limit({ ...record, sizeBytes: 0 })
      await records.change((state) => {
        state[place].delete(id)
      })
    },
  }
  await finish(store, folder, making)
  return store
}

/** What a kill interrupted: moves, removals, and frozen file systems. */
async function finish(store: Store, folder: string, making: (content: Content) => string): Promise<void> {
  for (const place of ['volumes', 'snapshots'] as const) {
    for (const record of store.records.current[place].values()) {
      const path = store.pathOf(place, record)
      if (!existsSync(path) && existsSync(making(record))) await rename(making(record), path)
      if (record.isDeleting) await store.remove(place, record.id)
    }
  }
  for (const name of await readdir(join(folder, 'making'))) await removeData(join(folder, 'making', name))
  for (const { backing, isBlock, stagingPath } of store.records.current.volumes.values()) {
    if (backing !== 'image' || isBlock || stagingPath === undefined || !(await isMounted(stagingPath))) continue
    await unfreezeIfFrozen(stagingPath)
  }
}

async function fill(
  path: string,
  content: Content,
  source: { path: string; frozenAt?: string } | undefined,
  limit: Store['limit'],
  signal: AbortSignal,
): Promise<void> {
  if (content.project !== undefined) {
    // What comes into it is counted from the first file on.
    await mkdir(path)
    setProject(path, content.project)
    limit(content)
  }
  if (source) {
    await copyWhole(source, path, signal)
    // More than the source had: its file system grows when it is mounted.
    if (content.backing === 'image') await truncate(path, content.sizeBytes)
  } else if (content.backing === 'folder') {
    await mkdir(path, { recursive: true })
    // Whoever the pod runs as.
    await chmod(path, 0o777)
  } else {
    await (await open(path, 'wx', 0o600)).close()
    await truncate(path, content.sizeBytes)
    if (!content.isBlock) await format(path, content.fsType, signal)
  }
  await syncData(path)
}

async function copyWhole(
  { path: from, frozenAt }: { path: string; frozenAt?: string },
  to: string,
  signal: AbortSignal,
): Promise<void> {
  if (frozenAt === undefined) return copy(from, to, signal)
  await freeze(frozenAt, signal)
  try {
    await copy(from, to, signal)
  } finally {
    await unfreeze(frozenAt)
  }
}

async function syncData(path: string): Promise<void> {
  const data = await open(path)
  try {
    await data.sync()
  } finally {
    await data.close()
  }
}

/** Never what is mounted there by somebody. @throws CsiError FAILED_PRECONDITION */
async function removeData(path: string): Promise<void> {
  const [mount] = await readMountInfo('self', { below: path })
  if (mount) throw new CsiError('FAILED_PRECONDITION', `${mount.mountPoint} is mounted: nothing of ${path} is removed`)
  // A program that a killed driver ran may still write.
  await rm(path, { recursive: true, force: true, maxRetries: 5 })
}
