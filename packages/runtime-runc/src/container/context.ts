// What the container operations share.
import { CriError } from '@nodelet/cri-api'
import type { Cgroups } from '@nodelet/linux'
import type { Cdi } from '../cdi/cdi.ts'
import { isFull } from '../files.ts'
import type { Handlers } from '../handlers.ts'
import type { Runc } from '../runc.ts'
import type { HostFacts } from '../spec/facts.ts'
import type { ContainerRecord } from './record.ts'
import type { Folders } from './store.ts'
import { saveRecord } from './store.ts'

/** Told after the new state is on disk. */
export interface ContainerEvent {
  type: 'created' | 'started' | 'stopped' | 'deleted'
  container: Readonly<ContainerRecord>
}

/** A container in memory. */
export interface Entry {
  record: ContainerRecord
  /** Fulfilled when the container has ended and that is on disk. */
  exited: PromiseWithResolvers<void>
  /** The last of the changes in line. */
  tail: Promise<void>
  /** The stop signal was sent in this process's life: it is never sent twice. */
  signalled: boolean
  /** While it stands still for a checkpoint: its abort ends that. */
  standstill?: AbortController
  /** Tells of the end of its monitor. */
  watch?: Disposable
  /** The disk did not take the last change. */
  unsaved?: boolean
}

/** One runtime's containers. */
export interface Context {
  folders: Folders
  cgroups: Cgroups
  handlers: Handlers
  conmon: string
  host: HostFacts
  cdi: Cdi
  /** Whether devices belong to the users of the containers that name them. */
  ownsDevices: boolean
  bootId: string
  entries: Map<string, Entry>
  /** Undoes what `CreateOptions.rootfs` did as a function; may be called again, and for a container that has none. */
  releaseRootfs: (id: string) => Promise<void>
  emit: (event: ContainerEvent) => void
  onProblem: (error: Error) => void
}

export function newEntry(record: ContainerRecord): Entry {
  const exited = Promise.withResolvers<void>()
  if (record.phase === 'exited') exited.resolve()
  return { record, exited, tail: Promise.resolve(), signalled: false }
}

/** Runs changes of one container one after the other. */
export async function locked<T>(entry: Entry, change: () => Promise<T>): Promise<T> {
  const before = entry.tail
  const done = Promise.withResolvers<void>()
  entry.tail = done.promise
  await before
  try {
    return await change()
  } finally {
    done.resolve()
  }
}

/** Stores a changed record; memory changes only when the disk has it. */
export async function update(context: Context, entry: Entry, change: Partial<ContainerRecord>): Promise<void> {
  await replace(context, entry, { ...entry.record, ...change })
}

/** Stores a record in the place of the former. */
export async function replace(context: Context, entry: Entry, next: ContainerRecord): Promise<void> {
  await saveRecord(context.folders, next)
  entry.unsaved = false
  entry.record = next
}

/** As `update`, for what has happened or must go on even if the disk is full: memory then is ahead of the disk. */
export async function note(context: Context, entry: Entry, change: Partial<ContainerRecord>): Promise<void> {
  const next = { ...entry.record, ...change }
  try {
    await replace(context, entry, next)
  } catch (error) {
    if (!isFull(error)) throw error
    entry.unsaved = true
    entry.record = next
    context.onProblem(error as Error)
  }
}

/** @throws CriError NOT_FOUND */
export function entryOf(context: Context, id: string): Entry {
  const entry = context.entries.get(id)
  if (!entry) throw new CriError('NOT_FOUND', `container "${id}" is not known: list the containers for their IDs`)
  return entry
}

/** The OCI runtime that a container was made with. @throws CriError UNKNOWN when it is configured no more */
export const runcOf = ({ handlers }: Context, { handler }: Pick<ContainerRecord, 'handler'>): Runc =>
  handlers.of(handler).runc
