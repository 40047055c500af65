// The volumes of this node's pods: set up (`set-up-all.ts`), kept fresh (`refresh.ts`), taken away (`unmount.ts`). One piece of work at a
// time per pod.
import { mkdirSync, realpathSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { NodeletEvent } from '../events.ts'
import { silentLogger } from '../log.ts'
import type { Logger } from '../log.ts'
import type { ObjectSource } from '../objects.ts'
import { volumeGroups } from '../storage/claim.ts'
import { createNodeDisks } from '../storage/node-disks.ts'
import { findClaims, type VolumeStorage } from '../storage/storage.ts'
import type { Allocatable } from './downward.ts'
import { inTurn, newEntry, type Context } from './entry.ts'
import { planVolumes, usedVolumes } from './plan.ts'
import { renewCertificates, schedule, shownBy, spread } from './refresh.ts'
import { failClaims, setUpAll } from './set-up-all.ts'
import { createTokenCache } from './tokens.ts'
import type { VolumeManager } from './types.ts'
import { removeOrphans, unmountPod } from './unmount.ts'
import { pluginOf, type VolumeWork } from './work.ts'

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
  certificates?: Context['certificates']
}

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
    removeOrphans: async (isKept) => removeOrphans(context, isKept, options.swept),
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
