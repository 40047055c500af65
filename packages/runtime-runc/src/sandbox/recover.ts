// What is left of a former life: kept, finished or undone.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { lockedSandbox, newSandboxEntry, updateSandbox } from './context.ts'
import type { SandboxContext, SandboxEntry } from './context.ts'
import { arePinned, dropNamespaces, pinnedIds } from './namespaces.ts'
import { podInterface } from './network.ts'
import { removePodFiles } from './pod-files.ts'
import { discardSandbox, endSandbox } from './stop.ts'
import { isId } from '../record-folders.ts'
import { loadSandboxes } from './store.ts'

const NETWORK_LIMIT_MS = 60_000

/** Reads the records, brings each to the state of the world, and removes what belongs to none. */
export async function recoverSandboxes(context: SandboxContext): Promise<void> {
  const { folders, entries, onProblem } = context
  const { records } = await loadSandboxes(folders, onProblem)
  for (const record of records) entries.set(record.id, newSandboxEntry(record))
  await Promise.all(
    [...entries.values()].map(async (entry) => {
      try {
        await lockedSandbox(entry, () => settle(context, entry))
      } catch (cause) {
        const { message } = cause as Error
        onProblem(new Error(`sandbox ${entry.record.id} could not be recovered: ${message}; remove it`, { cause }))
      }
    }),
  )
  await sweep(context)
}

async function settle(context: SandboxContext, entry: SandboxEntry): Promise<void> {
  const { phase, removing, bootId, id, config } = entry.record
  if (phase === 'stopped' && !removing) return
  if (phase === 'ready' && bootId === context.bootId && arePinned(context.folders.namespaces, id, config)) return
  // A restart of the machine ended it: its network is still to be given back.
  if (phase === 'ready') await updateSandbox(context, entry, { phase: 'stopping' })
  await endSandbox(context, entry)
  if (phase === 'creating' || removing) await discardSandbox(context, entry)
  else await updateSandbox(context, entry, { phase: 'stopped' })
}

/** Containers, pins, files, cgroups and networks without a sandbox. */
async function sweep(context: SandboxContext): Promise<void> {
  const { folders, entries, containers, cni, cgroups, cgroupParentDefault, onProblem } = context
  const isOrphan = (id: string): boolean => isId(id) && !entries.has(id)
  for (const { id } of containers.list().filter(({ sandboxId }) => isOrphan(sandboxId))) await containers.remove(id)
  for (const id of (await pinnedIds(folders.namespaces)).filter(isOrphan)) dropNamespaces(folders.namespaces, id)
  for (const id of (await readdir(folders.pods)).filter(isOrphan)) await removePodFiles(join(folders.pods, id))
  for (const id of (await cgroups.children(cgroupParentDefault)).filter(isOrphan)) {
    const path = join(cgroupParentDefault, id)
    if ((await cgroups.processes(path)).length === 0) await cgroups.remove(path)
  }
  try {
    const owed = [...entries.values()].filter(({ record }) => record.networkOwed)
    const valid = owed.map(({ record }) => ({ containerId: record.id, ifName: podInterface }))
    await cni.gc(valid, AbortSignal.timeout(NETWORK_LIMIT_MS))
  } catch (cause) {
    const { message } = cause as Error
    onProblem(
      new Error(`giving back networks of pods that are gone: ${message}; it is tried at the next start`, { cause }),
    )
  }
}
