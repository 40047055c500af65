// What is left of a former life: adopted, settled or removed.
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isAlive } from '../pids.ts'
import { locked, newEntry, update } from './context.ts'
import type { Context, Entry } from './context.ts'
import { finishUnknown, settleExit } from './exits.ts'
import { discard } from './remove.ts'
import { isContainerId, loadRecords } from './store.ts'

/** Reads the records, brings each to the state of the world, and removes what belongs to none. */
export async function recover(context: Context): Promise<void> {
  for (const record of await loadRecords(context.folders, context.onProblem)) {
    context.entries.set(record.id, newEntry(record))
  }
  const states = new Map((await context.runc.list()).map(({ id, status }) => [id, status]))
  await Promise.all(
    [...context.entries.values()].map(async (entry) => {
      try {
        await settle(context, entry, states.get(entry.record.id))
      } catch (cause) {
        context.onProblem(new Error(`container ${entry.record.id} could not be recovered: remove it`, { cause }))
      }
    }),
  )
  await sweep(context, [...states.keys()])
}

async function settle(context: Context, entry: Entry, status: string | undefined): Promise<void> {
  if (entry.record.phase === 'creating' || entry.record.removing) {
    await locked(entry, () => discard(context, entry))
    return
  }
  if (entry.record.phase === 'exited') return
  await settleExit(context, entry)
  if (isEnded(entry)) return
  await locked(entry, async () => {
    const { bootId, monitor, phase, createdAt } = entry.record
    if (bootId !== context.bootId)
      return finishUnknown(context, entry, 'the machine was restarted: the exit code is lost')
    if (!monitor || !isAlive(monitor))
      return finishUnknown(context, entry, 'the monitor was killed: the exit code is lost')
    // Started, but the agent ended before it could say so.
    if (phase === 'created' && status === 'running')
      await update(context, entry, { phase: 'running', startedAt: createdAt })
  })
}

const isEnded = (entry: Entry): boolean => entry.record.phase === 'exited'

/** Bundles, exit files, sockets and runc's states without a record. */
async function sweep(context: Context, runcIds: readonly string[]): Promise<void> {
  const { folders, entries, runc } = context
  const orphans = (ids: readonly string[]): string[] => ids.filter((id) => isContainerId(id) && !entries.has(id))
  for (const id of orphans(runcIds)) await runc.delete(id, { force: true })
  // Of commands whose caller was killed.
  for (const name of await readdir(folders.sockets)) {
    if (name.startsWith('exec-')) await rm(join(folders.sockets, name), { force: true })
  }
  for (const folder of [folders.bundles, folders.exits, folders.sockets]) {
    for (const id of orphans(await readdir(folder))) await rm(join(folder, id), { recursive: true, force: true })
  }
}
