// What the sandbox operations share.
import { CriError } from '@nodelet/cri-api'
import type { Cgroups } from '@nodelet/linux'
import type { Containers } from '../container/containers.ts'
import type { Cni } from '@nodelet/cni-plugins'
import { isFull } from '../files.ts'
import type { Handlers } from '../handlers.ts'
import type { PolicyLabels } from '../selinux/labels.ts'
import type { SandboxRecord } from './record.ts'
import { saveSandbox } from './store.ts'
import type { SandboxFolders } from './store.ts'

/** Told after the new state is on disk. */
export interface SandboxEvent {
  type: 'created' | 'started' | 'stopped' | 'deleted'
  sandbox: Readonly<SandboxRecord>
}

/** A sandbox in memory. */
export interface SandboxEntry {
  record: SandboxRecord
  /** The last of the changes in line. */
  tail: Promise<void>
  /** Work in the sandbox that its end waits for, such as making a container. */
  uses: Set<Promise<unknown>>
  /** Aborted when the sandbox's end waits for the work. */
  ending: AbortController
}

/** One runtime's sandboxes. */
export interface SandboxContext {
  folders: SandboxFolders
  containers: Containers
  handlers: Handlers
  cni: Cni
  cgroups: Cgroups
  cgroupParentDefault: string
  /** Where the pause program's root file system is made. */
  pauseDir: string
  bootId: string
  /** What pods have that ask for nothing, at a level of their own; absent where labels are off. */
  selinux?: PolicyLabels
  entries: Map<string, SandboxEntry>
  releaseViews: (id: string) => Promise<void>
  emit: (event: SandboxEvent) => void
  onProblem: (error: Error) => void
}

export function newSandboxEntry(record: SandboxRecord): SandboxEntry {
  return { record, tail: Promise.resolve(), uses: new Set(), ending: new AbortController() }
}

/** Runs changes of one sandbox one after the other. */
export async function lockedSandbox<T>(entry: SandboxEntry, change: () => Promise<T>): Promise<T> {
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
export async function updateSandbox(
  context: SandboxContext,
  entry: SandboxEntry,
  change: Partial<SandboxRecord>,
): Promise<void> {
  const next = { ...entry.record, ...change }
  await saveSandbox(context.folders, next)
  entry.record = next
}

/** As `updateSandbox`, for what must go on even if the disk is full: memory then is ahead of the disk. */
export async function noteSandbox(
  context: SandboxContext,
  entry: SandboxEntry,
  change: Partial<SandboxRecord>,
): Promise<void> {
  try {
    await updateSandbox(context, entry, change)
  } catch (error) {
    if (!isFull(error)) throw error
    entry.record = { ...entry.record, ...change }
    context.onProblem(error as Error)
  }
}

/** @throws CriError NOT_FOUND */
export function sandboxEntryOf(context: SandboxContext, id: string): SandboxEntry {
  const entry = context.entries.get(id)
  if (!entry) throw new CriError('NOT_FOUND', `sandbox "${id}" is not known: list the sandboxes for their IDs`)
  return entry
}
