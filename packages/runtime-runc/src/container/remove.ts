// Removing a container and all that was made for it.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { removeBundle } from '../bundle.ts'
import { crashPoint } from '../crash-points.ts'
import { endsWithin, killNow } from '../pids.ts'
import { locked, note, runcOf } from './context.ts'
import type { Context, Entry } from './context.ts'
import { cgroupsOf, deleteFromRuntime } from './runtime-delete.ts'
import { removeShown } from './shown.ts'
import type { ContainerRecord } from './record.ts'
import { removeRecord } from './store.ts'
import type { Runc } from '../runc.ts'
import { stop } from './stop.ts'
import { endCreation } from './strays.ts'

const MONITOR_WAIT_MS = 2000

/** Kills the container if it runs and removes it. Its log stays. An unknown container is fine. */
export async function remove(context: Context, id: string, signal?: AbortSignal): Promise<void> {
  const entry = context.entries.get(id)
  if (!entry) return
  await stop(context, id, 0, signal)
  await locked(entry, async () => {
    if (context.entries.get(id) !== entry) return // another call was faster
    await note(context, entry, { removing: true }) // removing is what makes room on a full disk
    crashPoint('container/removing')
    await discard(context, entry)
    context.emit({ type: 'deleted', container: entry.record })
  })
}

/** Takes away everything of a container, from whatever point it came to; may be run again. */
export async function discard(context: Context, entry: Entry): Promise<void> {
  const { id, phase } = entry.record
  entry.watch?.[Symbol.dispose]()
  if (phase === 'creating') await endMaking(context, id, runcOf(context, entry.record))
  // Whoever stored the end has deleted it before.
  if (phase !== 'exited' && phase !== 'creating') await deleteFromRuntime(context, id, runcOf(context, entry.record))
  await removeTraces(context, id, entry.record)
  await removeRecord(context.folders, id)
  crashPoint('container/removed')
  context.entries.delete(id)
  entry.exited.resolve()
}

/** Ends what makes a container, or made one that nothing is known of. */
export async function endMaking(context: Context, id: string, runc: Runc): Promise<void> {
  const { folders, cgroups } = context
  await endCreation(folders, id)
  await deleteFromRuntime(context, id, runc)
  // An OCI runtime that was killed early has a cgroup, and no state by which it would find it again.
  const paths = await cgroupsOf(context, id)
  if (!paths) return
  const { own, monitor } = paths // the monitor's: of one whose record cannot be read
  await cgroups.kill(own)
  await cgroups.remove(own)
  if (!monitor) return
  await cgroups.kill(monitor)
  await cgroups.remove(monitor)
}

/** All but the record and what the OCI runtime has. */
export async function removeTraces(
  context: Context,
  id: string,
  { monitor, monitorCgroup }: Pick<ContainerRecord, 'monitor' | 'monitorCgroup'> = {},
): Promise<void> {
  const { folders } = context
  crashPoint('container/runtime-removed')
  // conmon ends after its container; until then it may still write files.
  if (monitor && !(await endsWithin(monitor, MONITOR_WAIT_MS))) killNow(monitor.pid)
  crashPoint('container/monitor-ended')
  removeShown(join(folders.shown, id))
  if (monitorCgroup) await context.cgroups.remove(monitorCgroup)
  await removeBundle(join(folders.bundles, id))
  crashPoint('container/bundle-removed')
  await rm(join(folders.exits, id), { force: true })
  await rm(join(folders.sockets, id), { force: true })
  await context.releaseRootfs(id)
  crashPoint('container/rootfs-released')
}
