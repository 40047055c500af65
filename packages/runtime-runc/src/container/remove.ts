// Removing a container and all that was made for it.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { removeBundle } from '../bundle.ts'
import { readText } from '../files.ts'
import { isAlive, processRef } from '../pids.ts'
import type { ProcessRef } from '../pids.ts'
import { locked, update } from './context.ts'
import type { Context, Entry } from './context.ts'
import { removeRecord } from './store.ts'
import { stop } from './stop.ts'

const MONITOR_WAIT_MS = 2000

/** Kills the container if it runs and removes it. Its log stays. An unknown container is fine. */
export async function remove(context: Context, id: string, signal?: AbortSignal): Promise<void> {
  const entry = context.entries.get(id)
  if (!entry) return
  await stop(context, id, 0, signal)
  await locked(entry, async () => {
    if (context.entries.get(id) !== entry) return // another call was faster
    await update(context, entry, { removing: true })
    await discard(context, entry)
    context.emit({ type: 'deleted', container: entry.record })
  })
}

/** Takes away everything of a container, from whatever point it came to; may be run again. */
export async function discard(context: Context, entry: Entry): Promise<void> {
  const { folders, runc, entries } = context
  const { id } = entry.record
  const bundle = join(folders.bundles, id)
  const monitor = entry.record.monitor ?? (await monitorOf(bundle, id))
  // Whoever stored the end has deleted it before.
  if (entry.record.phase !== 'exited') await runc.delete(id, { force: true })
  if (monitor) await endMonitor(monitor)
  await removeBundle(bundle)
  await rm(join(folders.exits, id), { force: true })
  await rm(join(folders.sockets, id), { force: true })
  await context.releaseRootfs(id)
  await removeRecord(folders, id)
  entries.delete(id)
  entry.exited.resolve()
}

/** The monitor of a creation that was cut off, if its number is still of a conmon for this container. */
async function monitorOf(bundle: string, id: string): Promise<ProcessRef | undefined> {
  const pid = Number((await readText(join(bundle, 'conmon.pid'))) ?? 0)
  const ref = pid > 0 ? processRef(pid) : undefined
  const commandLine = ref && (await readText(`/proc/${pid}/cmdline`))
  return commandLine?.split('\0').includes(id) ? ref : undefined
}

/** conmon ends after its container; until then it may still write files. One that does not end is killed. */
async function endMonitor(monitor: ProcessRef): Promise<void> {
  for (const deadline = Date.now() + MONITOR_WAIT_MS; isAlive(monitor); await sleep(5)) {
    if (Date.now() < deadline) continue
    process.kill(monitor.pid, 'SIGKILL')
    return
  }
}
