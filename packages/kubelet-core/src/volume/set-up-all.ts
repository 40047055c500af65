// Makes the volumes of one pod ready, all at once, and tells what it waits for.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { CsiVolumeError, uniqueVolumeName } from '@nodelet/csi-node'
import { NotAttachedError } from '../storage/attach.ts'
import { unableError } from '../storage/storage.ts'
import { isImageVolume } from './image-volume.ts'
import { setUpError, usedVolumes } from './plan.ts'
import type { VolumePlan } from './plan.ts'
import { setUpVolume } from './set-up.ts'
import { pluginOf, timing } from './work.ts'
import { VolumeError } from './types.ts'
import type { Context, Entry } from './entry.ts'

/** Kinds of volumes that wait for drivers or servers. */
const slow: ReadonlySet<VolumePlan['kind']> = new Set(['csi', 'nfs', 'scsi'])

/** Claims are not bound: what needs neither drivers nor servers is made all the same. @throws VolumeError */
export async function failClaims(
  context: Context,
  entry: Entry,
  failed: ReadonlyMap<string, Error>,
  signal: AbortSignal,
): Promise<never> {
  const quick = entry.plans.filter(({ kind, name }) => !slow.has(kind) && !failed.has(name))
  const others = await setUpAll(context, entry, quick, signal).then(
    () => [],
    (error: unknown) => {
      if (!(error instanceof VolumeError)) throw error
      return [error, ...error.others]
    },
  )
  const reasons = [...failed.values()].map(({ message }) => message)
  const unmounted = lacking(entry.pod, entry)
  throw Object.assign(unableError({ unmounted, failed: [...failed.keys()] }, reasons.join('; ')), { others })
}

/** Volumes of the pod that are not ready. */
function lacking(pod: Pod, entry: Entry | undefined): string[] {
  const used = usedVolumes(pod)
  return (pod.spec?.volumes ?? [])
    .filter((volume) => used.has(volume.name) && !isImageVolume(volume) && !entry?.ready.has(volume.name))
    .map(({ name }) => name)
}

export async function setUpAll(
  context: Context,
  entry: Entry,
  plans: readonly VolumePlan[],
  signal: AbortSignal,
): Promise<Map<string, string>> {
  signal.throwIfAborted()
  const failed = new AbortController()
  const failures: VolumeError[] = []
  const mounted = new Map<string, string>()
  // A driver goes on with what it was asked: only the wait for it ends when the pod has to be told of something else.
  const unlessFailed = AbortSignal.any([signal, failed.signal])
  await Promise.all(
    plans.map(async (plan) => {
      const first = !entry.ready.has(plan.name)
      const patience = plan.kind === 'csi' ? unlessFailed : signal
      try {
        const work = setUpVolume(plan, entry.pod, context, first, patience)
        // Those of drivers are counted step by step.
        const counted = plan.kind === 'csi' ? work : timing(context.worked, pluginOf(plan))('volume_mount', work)
        const { path, renewAt, isLabelled } = await counted
        if (first) context.mounted(pluginOf(plan), secondsSince(entry.wantedMs.get(plan.name)))
        entry.ready.set(plan.name, renewAt)
        if (isLabelled) entry.labelled.add(plan.name)
        else entry.labelled.delete(plan.name)
        mounted.set(plan.name, path)
      } catch (error) {
        // Those of drivers end for the first one's sake, whatever their wait then throws.
        const isWord = error instanceof VolumeError || error instanceof CsiVolumeError
        const isEnded = error === failures[0] || (plan.kind === 'csi' && failed.signal.aborted && !isWord)
        if (!isEnded) failures.push(volumeError(context, entry, plan, error))
        failed.abort(failures[0])
      }
    }),
  )
  const [failure, ...others] = failures
  if (failure) throw Object.assign(failure, { others })
  return mounted
}

const secondsSince = (ms = performance.now()): number => (performance.now() - ms) / 1000

/** What was thrown, as a pod's event tells it. */
function volumeError({ storage }: Context, entry: Entry, plan: VolumePlan, cause: unknown): VolumeError {
  const { name } = plan
  if (cause instanceof VolumeError) return cause
  if (cause instanceof NotAttachedError) {
    const awaited = storage?.attachments.awaited(entry.pod.metadata?.uid ?? '') ?? []
    const others = entry.plans.filter((other) => awaited.includes(attachNameOf(other) ?? ''))
    const unattached = [...new Set([name, ...others.map((other) => other.name)])]
    return unableError({ unmounted: lacking(entry.pod, entry), unattached }, cause.message)
  }
  if (!(cause instanceof CsiVolumeError)) return setUpError(name, cause, 'specName' in plan ? plan.specName : name)
  const reason = cause.operation.startsWith('MapVolume') ? 'FailedMapVolume' : 'FailedMount'
  return new VolumeError(name, cause.message, { cause, reason, isRepeat: cause.isRepeat })
}

/** As node.status.volumesAttached names it; undefined: nobody attaches it. */
function attachNameOf(plan: VolumePlan): string | undefined {
  if (plan.kind === 'csi') return uniqueVolumeName(plan.volume.driver, plan.volume.volumeHandle)
  return 'attachName' in plan ? plan.attachName : undefined
}
