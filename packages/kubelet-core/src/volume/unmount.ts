// Takes away the volumes of pods that go, and of those that are gone.
import { join } from 'node:path'
import { localFolder } from '../storage/local.ts'
import { folderOf } from '../storage/scsi/target.ts'
import type { VolumePlan } from './plan.ts'
import { tearDownPod } from './tear-down.ts'
import { pluginOf, timing } from './work.ts'
import { isPodUid } from './folders.ts'
import { namesIn } from './mounts.ts'
import { inTurn, newEntry, type Context } from './entry.ts'

/** How long a look at all pods waits for volumes to go, in milliseconds. */
const patienceMs = 30_000

/** Of a volume that is a disk of the node; undefined: it is none. */
function diskFolderOf(plan: VolumePlan): string | undefined {
  if (plan.kind === 'local') return localFolder(plan)
  return plan.kind === 'scsi' ? folderOf(plan.target, plan.volumeMode) : undefined
}

export async function unmountPod(context: Context, podUid: string): Promise<void> {
  // Also of a pod that is not known: it may come back meanwhile.
  const entry = context.entries.get(podUid) ?? newEntry({ metadata: { uid: podUid } })
  context.entries.set(podUid, entry)
  const tearDown = async (): Promise<void> => {
    context.storage?.meter.release(podUid)
    context.storage?.expander.release(podUid)
    await tearDownPod(context.rootDir, podUid, context.storage?.csi, context.forced)
    // What is not known any more, whoever looks after what nobody has lets go of.
    const folders = new Set(entry.plans.flatMap((plan) => diskFolderOf(plan) ?? []))
    await soon(context, `disks of pod ${podUid}`, async () => context.disks.releaseUnused(folders)).catch(
      (err: unknown) => {
        // The pod has it no more, and it is tried again.
        context.log.warn(
          { err, node: context.nodeName, pod: podUid },
          'a disk that no pod has could not be let go of yet',
        )
      },
    )
    context.storage?.attachments.release(podUid)
  }
  const letGo = (): void => {
    if (context.entries.get(podUid) === entry) context.entries.delete(podUid)
  }
  clearTimeout(entry.timer)
  return inTurn(entry, async () => {
    clearTimeout(entry.timer)
    const ended = tearDown()
    try {
      // They are taken away together: each has taken as long as all.
      await Promise.all(entry.plans.map(async (plan) => timingOf(context, plan)(ended)))
      await ended
    } catch (error) {
      // Of a pod that is not known nothing is kept: what is left of it is found on disk by the next look.
      if (entry.plans.length === 0) letGo()
      throw error
    }
    entry.plans = []
    entry.wantedMs.clear()
    entry.ready.clear()
    context.tokens.forget(podUid)
    context.certificates?.forget(podUid)
    letGo()
  })
}

function timingOf({ worked }: Context, plan: VolumePlan): (work: Promise<void>) => Promise<void> {
  const { volumeMode } = plan.kind === 'csi' ? plan.volume : { volumeMode: undefined, ...plan }
  const isBlock = volumeMode === 'Block'
  // What is taken back is not known to have been a cloud provider's.
  const time = timing(worked, pluginOf(plan))
  return async (work) => time(isBlock ? 'unmap_volume' : 'volume_unmount', work)
}

/**
 * Unmounts what pods have that are not kept.
 * @param swept is told of how many pods the volumes were removed, and of how many they could not be
 * @throws AggregateError
 */
export async function removeOrphans(
  context: Context,
  isKept: (podUid: string) => boolean,
  swept?: (removed: number, failed: number) => void,
): Promise<void> {
  // A driver may have something for a pod whose folder is gone.
  const published = context.storage?.csi.published().map(({ podUid }) => podUid) ?? []
  const present = [...new Set([...(await namesIn(join(context.rootDir, 'pods'))), ...published])]
  const results = await Promise.allSettled(
    present
      .filter((uid) => isPodUid(uid) && !isKept(uid))
      .map(async (uid) => unmountOrphan(context, uid).catch((error: unknown) => orphaned(uid, error))),
  )
  const errors = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
  await soon(context, 'volumes of no pod', async () => context.storage?.csi.tearDownUnused()).catch((error: unknown) =>
    errors.push(error),
  )
  await soon(context, 'disks of no pod', async () => context.disks.releaseUnused()).catch((error: unknown) =>
    errors.push(error),
  )
  const failed = results.filter(({ status }) => status === 'rejected').length
  swept?.(results.length - failed, failed)
  if (errors.length > 0) throw new AggregateError(errors, 'volumes of pods that are gone could not be removed')
}

const unmountOrphan = async (context: Context, podUid: string): Promise<void> =>
  soon(context, `volumes of pod ${podUid}`, async () => unmountPod(context, podUid))

/** @throws Error in the words of the Go kubelet */
function orphaned(podUid: string, cause: unknown): never {
  const what = `orphaned pod ${JSON.stringify(podUid)} found, but volume paths are still present on disk`
  throw new Error(`${what}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
}

/** Work that a driver or server may hold up: it goes on when it takes too long, and is not begun again before it has ended. */
async function soon({ leaving }: Context, what: string, work: () => Promise<void> | undefined): Promise<void> {
  const going =
    leaving.get(what) ??
    (async () => {
      try {
        await work()
      } finally {
        leaving.delete(what)
      }
    })()
  leaving.set(what, going)
  going.catch(() => undefined) // when it ends too late to be told
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} are still being unmounted`)), patienceMs).unref()
  })
  try {
    await Promise.race([going, late])
  } finally {
    clearTimeout(timer)
  }
}
