// One worker per pod: made when a pod is wanted, ended when it is not, forgotten when nothing of it is left.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { removeContainerLog } from '../container-log/remove.ts'
import type { Clock } from '../clock.ts'
import { fullName } from '../source/merge.ts'
import { withStatus } from '../status-patch.ts'
import { ownedConditions } from './conditions.ts'
import { podGrace } from './kill.ts'
import { isStatic, podTitle } from './labels.ts'
import type { PodServices } from './services.ts'
import { removePod } from './prune.ts'
import { createPodTurns } from './turns.ts'
import { createPodWorker, type EndRequest, type PodFailure, type PodWorker, type WorkerPhase } from './worker.ts'

export interface PodManager {
  /** All pods that are wanted, by UID, in the order of their creation: so they are admitted. */
  update(wanted: ReadonlyMap<string, Pod>): void
  wake(podUid: string): void
  /** Whether containers are ready may be told anew, without a turn. */
  refresh(podUid: string): void
  wakeAll(): void
  /** Ends what the runtime has of pods that nobody wants. Only once all sources are read. */
  endOrphans(inRuntime: ReadonlyMap<string, { name: string; namespace: string }>): void
  /**
   * Ends a pod of the node's own accord. Fulfilled when nothing of it is left; at once for a pod that has ended.
   * @param graceSeconds overrides the pod's own, if that is longer
   * @throws Error when it takes longer than half as long again as its grace, and ten seconds
   */
  evict(podUid: string, failure: PodFailure, graceSeconds?: number): Promise<void>
  /** All, with how far their life has come. */
  workers(): { pod: Pod; phase: WorkerPhase; wanted: boolean }[]
  /** Those that are ending, or have ended, since nobody wants them any more. */
  unwanted(): Pod[]
  /** Those that run or are to run: not those that end. */
  syncing(): Pod[]
  /** Removes the containers of pods that have ended, and older ones of those that run. What fails is tried again later. */
  removeDead(): Promise<void>
  get(podUid: string): Pod | undefined
  /** With their newest status. */
  pods(): Pod[]
  uids(): Set<string>
  /** Whether the pod is wanted, or ends. */
  has(podUid: string): boolean
  close(): Promise<void>
}

interface Entry {
  worker: PodWorker
  refresh(): void
  wanted: boolean
  /** As the source last had it. */
  source: Pod
  print: string
}

/** What counts as a change of a pod: not the status that we write ourselves. */
function printOf({ metadata, spec, status }: Pod): string {
  const { resourceVersion: _, managedFields: __, ...meta } = metadata ?? {}
  const ended = isOver({ status } as Pod)
  const conditions = status?.conditions?.filter(({ type }) => !ownedConditions.has(type))
  return JSON.stringify([meta, spec, ended, conditions, status?.resourceClaimStatuses])
}

/** The grace of what nobody knows, in seconds. */
const orphanGraceSeconds = 1

export function createPodManager(services: PodServices): PodManager {
  const { clock, log, statuses } = services
  const entries = new Map<string, Entry>()
  let desired: ReadonlyMap<string, Pod> = new Map()
  let closed = false

  const open = (pod: Pod, wanted: boolean, end?: EndRequest): void => {
    const uid = pod.metadata?.uid ?? ''
    let worker: PodWorker | undefined
    services.starts.begin(uid)
    const turns = createPodTurns(services, pod, () => worker?.wake())
    worker = createPodWorker(pod, turns, { clock, log, end })
    entries.set(uid, { worker, refresh: turns.refresh, wanted, source: pod, print: printOf(pod) })
  }

  /** An earlier pod of the same full name that has not ended. */
  const predecessor = (pod: Pod): Entry | undefined =>
    [...entries.values()].find(
      ({ worker }) =>
        worker.pod.metadata?.uid !== pod.metadata?.uid &&
        fullName(worker.pod) === fullName(pod) &&
        worker.phase !== 'terminated',
    )

  const forget = async (uid: string, entry: Entry): Promise<void> => {
    await entry.worker.finished
    while (!closed && !entry.wanted) {
      try {
        await removePod(services, entry.worker.pod)
        break
      } catch (error) {
        log.warn({ err: error, pod: entry.worker.pod.metadata?.name }, 'removing what is left of a pod; again in 10 s')
        await new Promise<void>((resolve) => clock.after(10_000, resolve))
      }
    }
    if (closed || entry.wanted) return
    await entry.worker.close()
    entries.delete(uid)
    statuses.forget(uid)
    services.starts.forget(uid)
    const again = desired.get(uid)
    if (again) services.metrics.restartedPods.inc({ static: isStatic(again) ? 'true' : '' })
    // Who waited for this pod's end may begin.
    update(desired)
    services.forgotten?.()
  }

  const end = (uid: string, entry: Entry, request: EndRequest): void => {
    if (!entry.wanted) return
    entry.wanted = false
    entry.worker.terminate(request)
    void forget(uid, entry)
  }

  const add = (pod: Pod): void => {
    // A static pod that changed is a new one: the former ends first, whatever it takes.
    if (isStatic(pod) && predecessor(pod)) return
    open(pod, true, endOf(pod))
  }

  const update = (wanted: ReadonlyMap<string, Pod>): void => {
    if (closed) return
    desired = wanted
    for (const [uid, entry] of entries) if (!wanted.has(uid)) end(uid, entry, {})
    const fresh = [...wanted].filter(([uid]) => !entries.has(uid)).map(([, pod]) => pod)
    // Those that run already count before any new one is judged.
    for (const pod of fresh) if (hasRun(pod) && !isOver(pod)) services.admission.adopt(pod)
    for (const pod of fresh) add(pod)
    for (const [uid, pod] of wanted) {
      const entry = entries.get(uid)
      if (!entry || entry.source === pod) continue
      entry.source = pod
      const print = printOf(pod)
      if (print === entry.print || !entry.wanted) continue
      entry.print = print
      entry.worker.update(pod)
      const request = endOf(pod)
      if (request) entry.worker.terminate(request)
    }
  }

  return {
    update,
    wake: (uid) => entries.get(uid)?.worker.wake(),
    refresh: (uid) => entries.get(uid)?.refresh(),
    wakeAll() {
      for (const { worker } of entries.values()) worker.wake()
    },
    endOrphans(inRuntime) {
      for (const [uid, { name, namespace }] of inRuntime) {
        if (closed || entries.has(uid) || desired.has(uid)) continue
        services.metrics.orphanedRuntimePods.inc()
        log.info({ pod: name, namespace, uid }, 'a pod that nobody wants any more is ended')
        const pod: Pod = { metadata: { uid, name, namespace }, spec: { containers: [] } }
        open(pod, true, { graceSeconds: orphanGraceSeconds })
        const entry = entries.get(uid)
        if (entry) end(uid, entry, { graceSeconds: orphanGraceSeconds })
      }
    },
    async evict(uid, failure, graceSeconds) {
      const worker = entries.get(uid)?.worker
      if (!worker) return
      worker.terminate({ failure, ...(graceSeconds !== undefined && { graceSeconds }) })
      const grace = graceSeconds ?? podGrace(worker.pod)
      if (await within(clock, worker.finished, Math.max(10_000, grace * 1500))) return
      const message = 'Container runtime did not kill the pod within specified grace period.'
      services.events.record(worker.pod, { type: 'Warning', reason: 'ExceededGracePeriod', message })
      throw new Error(`pod ${podTitle(worker.pod)}: ${message}`)
    },
    workers: () => [...entries.values()].map(({ worker: { pod, phase }, wanted }) => ({ pod, phase, wanted })),
    unwanted: () => [...entries.values()].flatMap(({ worker, wanted }) => (wanted ? [] : [worker.pod])),
    syncing: () =>
      [...entries.values()].map(({ worker }) => worker).flatMap(({ phase, pod }) => (phase === 'syncing' ? [pod] : [])),
    async removeDead() {
      for (const [uid, { worker }] of entries) {
        if (worker.phase !== 'terminated') continue
        const { containers, sandboxes } = await services.reader.read(uid)
        for (const { id, logPath } of containers) {
          await services.runtime.removeContainer({ containerId: id })
          await removeContainerLog(logPath)
        }
        for (const { id } of sandboxes) await services.runtime.removePodSandbox({ podSandboxId: id })
      }
    },
    get: (uid) => {
      const pod = entries.get(uid)?.worker.pod
      return pod && withStatus(pod, statuses.get(uid))
    },
    pods: () =>
      [...entries.values()].map(({ worker }) => withStatus(worker.pod, statuses.get(worker.pod.metadata?.uid ?? ''))),
    has: (uid) => entries.has(uid) || desired.has(uid),
    uids: () => new Set([...entries.keys(), ...desired.keys()]),
    async close() {
      closed = true
      await Promise.all([...entries.values()].map(async ({ worker }) => worker.close()))
    },
  }
}

/** It has run here, by the word of its status: who was admitted before stays so. */
function hasRun({ status }: Pod): boolean {
  return (status?.containerStatuses ?? []).some(({ containerID }) => containerID)
}

const isOver = ({ status }: Pod): boolean => status?.phase === 'Succeeded' || status?.phase === 'Failed'

/** Being deleted; or ended by somebody else, or before this kubelet was. */
const endOf = (pod: Pod): EndRequest | undefined => deletionOf(pod) ?? (!isStatic(pod) && isOver(pod) ? {} : undefined)

function deletionOf({ metadata }: Pod): EndRequest | undefined {
  if (!metadata?.deletionTimestamp) return undefined
  const graceSeconds = metadata.deletionGracePeriodSeconds
  return graceSeconds === undefined ? {} : { graceSeconds }
}

/** Whether it was fulfilled in time. */
async function within(clock: Clock, promise: Promise<void>, ms: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>()
  const cancel = clock.after(ms, () => resolve(false))
  try {
    return await Promise.race([promise.then(() => true), late])
  } finally {
    cancel()
  }
}
