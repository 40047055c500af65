// What is left of a former life: adopted, settled or removed.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import { endCheckpoint } from '../checkpoint/checkpoint.ts'
import { isMissing, removeTree } from '../files.ts'
import { beginOf, isAlive } from '../pids.ts'
import type { Handler } from '../handlers.ts'
import type { RuncState } from '../runc.ts'
import { isId } from '../record-folders.ts'
import { locked, newEntry, update } from './context.ts'
import type { Context, Entry } from './context.ts'
import { finishUnknown, settleEnd, settleExit, watchProcesses } from './exits.ts'
import { discard, endMaking, removeTraces } from './remove.ts'
import { hideShown } from './shown.ts'
import { loadRecords } from './store.ts'
import { applyPending } from './update.ts'
import { endCommands, findStrays, monitoredId } from './strays.ts'

/** Reads the records, brings each to the state of the world, and removes what belongs to none. */
export async function recover(context: Context): Promise<void> {
  const { folders, entries, onProblem } = context
  const { records, damaged } = await loadRecords(folders, onProblem)
  for (const record of records) entries.set(record.id, newEntry(record))
  await endCommands(folders)
  for (const id of await readdir(folders.shown)) hideShown(join(folders.shown, id))
  const listed = await Promise.all(context.handlers.list().map(async (handler) => statesOf(context, handler)))
  const states = new Map(listed.flat().map(({ id, status }) => [id, status]))
  await Promise.all(
    [...entries.values()].map(async (entry) => {
      const { id } = entry.record
      try {
        await settle(context, entry, states.get(id))
      } catch (cause) {
        const { message } = cause as Error
        onProblem(new Error(`container ${id} could not be recovered: ${message}; remove it`, { cause }))
      }
    }),
  )
  await sweep(context, [...states.keys(), ...damaged])
}

/** A runtime that hangs or fails must not keep the daemon from its start, nor the pods of others from their care. */
async function statesOf({ onProblem }: Context, { name, runc }: Handler): Promise<RuncState[]> {
  try {
    return await runc.list()
  } catch (cause) {
    const { message } = cause as Error
    onProblem(new Error(`runtime handler ${name} does not list its containers: ${message}; mend it`, { cause }))
    return []
  }
}

async function settle(context: Context, entry: Entry, status: string | undefined): Promise<void> {
  const { phase, removing, bootId, monitor, init, createdAt } = entry.record
  await locked(entry, () => endCheckpoint(context, entry))
  if (phase === 'creating' || removing) return locked(entry, () => discard(context, entry))
  if (phase === 'exited') return
  const isWatched = monitor !== undefined && isAlive(monitor)
  await settleExit(context, entry)
  if (isEnded(entry)) return
  if (bootId !== context.bootId) {
    return locked(entry, () => finishUnknown(context, entry, 'the machine was restarted: the exit code is lost'))
  }
  if (!isWatched) return settleEnd(context, entry)
  // Started, but this process ended before it could say so.
  if (phase === 'created' && status === 'running') {
    const startedAt = Math.max(createdAt, init ? beginOf(init) : 0)
    await locked(entry, () => update(context, entry, { phase: 'running', startedAt }))
  }
  watchProcesses(context, entry)
  try {
    await locked(entry, () => applyPending(context, entry))
  } catch (error) {
    // It has ended just now: it needs no limits.
    if (!(error instanceof CriError) || error.code !== 'FAILED_PRECONDITION') throw error
  }
}

const isEnded = (entry: Entry): boolean => entry.record.phase === 'exited'

/** What the OCI runtime, conmon and the folders have without a record. */
async function sweep(context: Context, known: readonly string[]): Promise<void> {
  const { folders, entries, onProblem } = context
  // Of commands whose caller was killed.
  for (const folder of [folders.sockets, ...[...entries.keys()].map((id) => join(folders.bundles, id))]) {
    for (const name of await namesIn(folder)) if (name.startsWith('exec-')) await removeTree(join(folder, name))
  }
  const monitored = (await findStrays(folders)).flatMap((stray) => monitoredId(stray) ?? [])
  const listed = await Promise.all(
    [folders.bundles, folders.exits, folders.sockets, folders.shown].map((folder) => readdir(folder)),
  )
  const orphans = new Set([...known, ...monitored, ...listed.flat()].filter((id) => isId(id) && !entries.has(id)))
  for (const id of orphans) {
    try {
      // Whose it was is not known: each runtime is asked.
      for (const { runc } of context.handlers.list()) await endMaking(context, id, runc)
      await removeTraces(context, id)
    } catch (cause) {
      const { message } = cause as Error
      onProblem(new Error(`what is left of container ${id} could not be removed: ${message}`, { cause }))
    }
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (isMissing(error)) return [] // a reboot took the bundle
    throw error
  }
}
