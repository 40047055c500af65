// The volumes of this node's pods: set up, kept fresh, taken away. One piece of work at a time per pod.
import { mkdirSync, realpathSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { CsiVolumeError, uniqueVolumeName } from '@nodelet/csi-node'
import type { PodCertificates } from '../certificate/pod-certificates.ts'
import type { NodeletEvent } from '../events.ts'
import { silentLogger } from '../log.ts'
import type { Logger } from '../log.ts'
import type { ChangingKind, ObjectSource, ReferredObject } from '../objects.ts'
import { NotAttachedError } from '../storage/attach.ts'
import { volumeGroups } from '../storage/claim.ts'
import { localFolder } from '../storage/local.ts'
import { createNodeDisks } from '../storage/node-disks.ts'
import { folderOf } from '../storage/scsi/target.ts'
import { findClaims, unableError, type VolumeStorage } from '../storage/storage.ts'
import type { Allocatable } from './downward.ts'
import { isPodUid } from './folders.ts'
import { isImageVolume } from './image-volume.ts'
import { namesIn } from './mounts.ts'
import { planVolumes, setUpError, usedVolumes } from './plan.ts'
import type { FileSource, VolumePlan } from './plan.ts'
import { setUpVolume } from './set-up.ts'
import type { SetUpContext } from './set-up.ts'
import { tearDownPod } from './tear-down.ts'
import { createTokenCache } from './tokens.ts'
import { pluginOf, timing, type VolumeWork } from './work.ts'
import { failureEvents, VolumeError } from './types.ts'
import type { VolumeManager } from './types.ts'

export interface VolumeManagerOptions {
  /** The kubelet's folder, usually `/var/lib/kubelet`; made when missing. Needs root. */
  rootDir: string
  /** For log lines. */
  nodeName: string
  objects: ObjectSource
  log?: Logger
  /** Is told of volumes of running pods that could not be brought up to date. */
  tell?: (pod: Pod, event: NodeletEvent) => void
  /** Is told of how many pods that are gone the volumes were removed, and of how many they could not be. */
  swept?: (removed: number, failed: number) => void
  /** Is told of work that was done or failed. */
  worked?: (work: VolumeWork) => void
  /** Is told how long a pod waited for a volume, from when it first wanted it. */
  mounted?: (plugin: string, seconds: number) => void
  /** Is told of volumes that nobody knew what to make of, and that were unmounted, or could not be. */
  forced?: (success: boolean) => void
  /** Default: the machine's. */
  clock?: { now(): number }
  /** What a container without limits may use; default: the whole machine. */
  allocatable?: Allocatable
  /** For volumes of claims and of CSI drivers; default: there are none. */
  storage?: VolumeStorage | undefined
  /** For sources of kind `podCertificate`; default: they are refused. */
  certificates?: Pick<PodCertificates, 'get' | 'forget' | 'onChange'> | undefined
}

interface Entry {
  pod: Pod
  plans: readonly VolumePlan[]
  /** Volume → since when the pod has wanted it. */
  wantedMs: Map<string, number>
  /** Volume → when to look at it again, for volumes that are ready. */
  ready: Map<string, number>
  /** Volumes that are mounted with an SELinux label. */
  labelled: Set<string>
  /** Ends when all work so far has. */
  tail: Promise<void>
  timer?: NodeJS.Timeout
  /** Volumes to be looked at, in a turn that is waiting already. */
  stale: Set<string>
}

interface Context extends SetUpContext {
  certificates: VolumeManagerOptions['certificates']
  nodeName: string
  tell: (pod: Pod, event: NodeletEvent) => void
  worked: (work: VolumeWork) => void
  mounted: (plugin: string, seconds: number) => void
  forced: (success: boolean) => void
  entries: Map<string, Entry>
  closing: AbortController
  /** What is being unmounted for want of a pod. */
  leaving: Map<string, Promise<void>>
}

const retryMs = 10_000
/** How long a look at all pods waits for volumes to go, in milliseconds. */
const patienceMs = 30_000
const longestTimerMs = 2 ** 31 - 1

/** Volumes below `rootDir/pods`. Changes of ConfigMaps, Secrets and labels, and fresh tokens, reach running pods by themselves. */
export function createVolumeManager(options: VolumeManagerOptions): VolumeManager {
  const { objects, nodeName, log = silentLogger, clock = Date } = options
  mkdirSync(join(options.rootDir, 'pods'), { recursive: true, mode: 0o750 })
  const allocatable = options.allocatable ?? {
    milliCpu: BigInt(cpus().length) * 1000n,
    memoryBytes: BigInt(totalmem()),
  }
  const rootDir = realpathSync(options.rootDir)
  const context: Context = {
    rootDir,
    disks: options.storage?.disks ?? createNodeDisks(rootDir, log),
    objects,
    tokens: createTokenCache(objects, clock, log),
    certificates: options.certificates,
    allocatable,
    clock,
    log,
    nodeName,
    tell: options.tell ?? (() => {}),
    worked: options.worked ?? (() => {}),
    mounted: options.mounted ?? (() => {}),
    forced: options.forced ?? (() => {}),
    entries: new Map(),
    closing: new AbortController(),
    leaving: new Map(),
    storage: options.storage,
  }
  const stopWatching = objects.onChange(
    (kind, namespace, name) => spread(context, kind, namespace, name),
    () => shownBy(context),
  )
  const stopCertificates = options.certificates?.onChange((podUid) => renewCertificates(context, podUid))
  return {
    mount: (pod, signal) => mountPod(context, pod, signal),
    unmount: (podUid) => unmountPod(context, podUid),
    counts: () =>
      [...context.entries.values()].flatMap(({ plans, ready }) =>
        plans.map((plan) => ({ plugin: pluginOf(plan), ready: ready.has(plan.name) })),
      ),
    labelled: (podUid) => context.entries.get(podUid)?.labelled ?? new Set(),
    groups(podUid) {
      const { pod, plans = [] } = context.entries.get(podUid) ?? {}
      return pod
        ? volumeGroups(
            pod,
            plans.flatMap((plan) => ('bound' in plan && plan.bound ? [plan.bound.volume] : [])),
          )
        : []
    },
    removeOrphans: async (isKept) => {
      // A driver may have something for a pod whose folder is gone.
      const published = context.storage?.csi.published().map(({ podUid }) => podUid) ?? []
      const present = [...new Set([...(await namesIn(join(context.rootDir, 'pods'))), ...published])]
      const results = await Promise.allSettled(
        present
          .filter((uid) => isPodUid(uid) && !isKept(uid))
          .map(async (uid) => unmountOrphan(context, uid).catch((error: unknown) => orphaned(uid, error))),
      )
      const errors = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
      await soon(context, 'volumes of no pod', async () => context.storage?.csi.tearDownUnused()).catch(
        (error: unknown) => errors.push(error),
      )
      await soon(context, 'disks of no pod', async () => context.disks.releaseUnused()).catch((error: unknown) =>
        errors.push(error),
      )
      const failed = results.filter(({ status }) => status === 'rejected').length
      options.swept?.(results.length - failed, failed)
      if (errors.length > 0) throw new AggregateError(errors, 'volumes of pods that are gone could not be removed')
    },
    close: async () => {
      stopWatching()
      stopCertificates?.()
      context.closing.abort(new Error('the volume manager is closed'))
      const entries = [...context.entries.values()]
      for (const entry of entries) clearTimeout(entry.timer)
      // Work of pods that are gone is left as it is: it may wait for a driver or server.
      await Promise.all(entries.filter(({ plans }) => plans.length > 0).map(({ tail }) => tail))
    },
  }
}

async function mountPod(context: Context, pod: Pod, signal?: AbortSignal): Promise<ReadonlyMap<string, string>> {
  const ended = signal ? AbortSignal.any([signal, context.closing.signal]) : context.closing.signal
  const used = usedVolumes(pod)
  const uid = pod.metadata?.uid ?? ''
  const { bound, failed } = await findClaims(context.storage, pod, (name) => used.has(name), ended)
  const plans = planVolumes(pod, context.allocatable.memoryBytes, bound, new Set(failed.keys()))
  const entry = context.entries.get(uid) ?? newEntry(pod)
  context.entries.set(uid, entry)
  for (const { name } of plans) if (!entry.wantedMs.has(name)) entry.wantedMs.set(name, performance.now())
  return inTurn(entry, async () => {
    // An unmount that had its turn in between has let the entry go.
    context.entries.set(uid, entry)
    // Of one that is ready, and whose claim cannot be read now, all stays.
    const known = entry.plans.filter(({ name }) => failed.has(name))
    Object.assign(entry, { pod, plans: [...plans, ...known] })
    try {
      if (failed.size > 0) return await failClaims(context, entry, failed, ended)
      return await setUpAll(context, entry, plans, ended)
    } finally {
      schedule(context, entry)
    }
  })
}

/** Kinds of volumes that wait for drivers or servers. */
const slow: ReadonlySet<VolumePlan['kind']> = new Set(['csi', 'nfs', 'scsi'])

/** Claims are not bound: what needs neither drivers nor servers is made all the same. @throws VolumeError */
async function failClaims(
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

function newEntry(pod: Pod): Entry {
  return {
    pod,
    plans: [],
    wantedMs: new Map(),
    ready: new Map(),
    labelled: new Set(),
    tail: Promise.resolve(),
    stale: new Set(),
  }
}

/** Volumes of the pod that are not ready. */
function lacking(pod: Pod, entry: Entry | undefined): string[] {
  const used = usedVolumes(pod)
  return (pod.spec?.volumes ?? [])
    .filter((volume) => used.has(volume.name) && !isImageVolume(volume) && !entry?.ready.has(volume.name))
    .map(({ name }) => name)
}

async function setUpAll(
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

/** Of a volume that is a disk of the node; undefined: it is none. */
function diskFolderOf(plan: VolumePlan): string | undefined {
  if (plan.kind === 'local') return localFolder(plan)
  return plan.kind === 'scsi' ? folderOf(plan.target, plan.volumeMode) : undefined
}

/** As node.status.volumesAttached names it; undefined: nobody attaches it. */
function attachNameOf(plan: VolumePlan): string | undefined {
  if (plan.kind === 'csi') return uniqueVolumeName(plan.volume.driver, plan.volume.volumeHandle)
  return 'attachName' in plan ? plan.attachName : undefined
}

async function unmountPod(context: Context, podUid: string): Promise<void> {
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

function inTurn<Result>(entry: Entry, work: () => Promise<Result>): Promise<Result> {
  const result = entry.tail.then(work)
  const done = (): void => {}
  entry.tail = result.then(done, done)
  return result
}

/** Of what the pods' volumes are made. */
function* shownBy({ entries }: Context): Iterable<ReferredObject> {
  for (const { pod, plans } of entries.values()) {
    const namespace = pod.metadata?.namespace ?? 'default'
    for (const source of plans.flatMap((plan) => (plan.kind === 'files' ? plan.sources : []))) {
      if (source.kind === 'ConfigMap' || source.kind === 'Secret')
        yield { namespace, kind: source.kind, name: source.name }
    }
  }
}

/** An object changed: pods that show it are brought up to date. */
function spread(context: Context, kind: ChangingKind, namespace: string, name: string): void {
  const isOfBundle = kind === 'ClusterTrustBundle'
  const shows = (source: FileSource): boolean => {
    // Which ones a signer has, and which of them are chosen, may have changed: bundles are few, and change rarely.
    if (isOfBundle) return source.kind === 'trustAnchors'
    return source.kind === kind && source.name === name
  }
  for (const entry of context.entries.values()) {
    if (!isOfBundle && (entry.pod.metadata?.namespace ?? 'default') !== namespace) continue
    refresh(
      context,
      entry,
      entry.plans.filter((plan) => plan.kind === 'files' && plan.sources.some(shows)),
    )
  }
}

/** There are new ones, or there will be none. */
function renewCertificates(context: Context, podUid: string): void {
  const entry = context.entries.get(podUid)
  if (!entry) return
  const shows = ({ kind }: FileSource): boolean => kind === 'podCertificate'
  refresh(
    context,
    entry,
    entry.plans.filter((plan) => plan.kind === 'files' && plan.sources.some(shows)),
  )
}

function refresh(context: Context, entry: Entry, plans: readonly VolumePlan[]): void {
  if (plans.length === 0) return
  const waiting = entry.stale.size > 0
  for (const plan of plans) entry.stale.add(plan.name)
  if (waiting) return
  void inTurn(entry, async () => {
    const stale = entry.plans.filter((plan) => entry.stale.has(plan.name) && entry.ready.has(plan.name))
    entry.stale.clear()
    try {
      await setUpAll(context, entry, stale, context.closing.signal)
    } catch (error) {
      if (context.closing.signal.aborted) return
      const fields = { err: error, node: context.nodeName, pod: entry.pod.metadata?.uid }
      context.log.warn(fields, 'a volume could not be brought up to date: it keeps its files')
      for (const event of failureEvents(error)) context.tell(entry.pod, event)
      for (const plan of stale) entry.ready.set(plan.name, context.clock.now() + retryMs)
    }
    schedule(context, entry)
  })
}

function schedule(context: Context, entry: Entry): void {
  clearTimeout(entry.timer)
  const due = Math.min(Infinity, ...entry.ready.values())
  if (due === Infinity || context.closing.signal.aborted) return
  const delay = Math.min(Math.max(due - context.clock.now(), 0), longestTimerMs)
  entry.timer = setTimeout(() => {
    const now = context.clock.now()
    const stale = entry.plans.filter((plan) => (entry.ready.get(plan.name) ?? Infinity) <= now)
    if (stale.length > 0) refresh(context, entry, stale)
    else schedule(context, entry)
  }, delay)
  entry.timer.unref()
}
