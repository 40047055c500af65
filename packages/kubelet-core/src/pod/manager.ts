// One worker per pod: made when a pod is wanted, ended when it is not, forgotten when nothing of it is left.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { fullName } from '../source/merge.ts'
import { withStatus } from '../status-patch.ts'
import { type Rejection, rejectionOf } from './admission.ts'
import { ownedConditions } from './conditions.ts'
import { isStatic } from './labels.ts'
import type { PodServices } from './services.ts'
import { removePod } from './prune.ts'
import { createPodTurns } from './turns.ts'
import { createPodWorker, type EndRequest, type PodWorker } from './worker.ts'

export interface PodManager {
  /** All pods that are wanted, by UID. */
  update(wanted: ReadonlyMap<string, Pod>): void
  wake(podUid: string): void
  wakeAll(): void
  /** Ends what the runtime has of pods that nobody wants. Only once all sources are read. */
  endOrphans(inRuntime: ReadonlyMap<string, { name: string; namespace: string }>): void
  get(podUid: string): Pod | undefined
  /** With their newest status. */
  pods(): Pod[]
  uids(): Set<string>
  close(): Promise<void>
}

interface Entry {
  worker: PodWorker
  wanted: boolean
  /** As the source last had it. */
  source: Pod
  print: string
}

/** What counts as a change of a pod: not the status that we write ourselves. */
function printOf({ metadata, spec, status }: Pod): string {
  const { resourceVersion: _, managedFields: __, ...meta } = metadata ?? {}
  return JSON.stringify([meta, spec, status?.conditions?.filter(({ type }) => !ownedConditions.has(type))])
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
    const turns = createPodTurns(services, pod, () => worker?.wake())
    worker = createPodWorker(pod, turns, { clock, log, end })
    entries.set(uid, { worker, wanted, source: pod, print: printOf(pod) })
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
    // Who waited for this pod's end may begin.
    update(desired)
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
    open(pod, true, deletionOf(pod) ?? admit(pod))
  }

  /** Undefined for a pod that may run; who was admitted before, by this kubelet or one before, stays so. */
  const admit = (pod: Pod): EndRequest | undefined => {
    const { phase, containerStatuses = [] } = pod.status ?? {}
    const known = containerStatuses.some(({ containerID }) => containerID)
    if (known || phase === 'Succeeded' || phase === 'Failed') return undefined
    const active = [...entries.values()]
      .filter(({ worker }) => worker.phase === 'syncing')
      .map(({ worker }) => worker.pod)
    const rejection = checked(() => rejectionOf(pod, active, services.node.allocatable))
    if (!rejection) return undefined
    const { reason, message } = rejection
    services.events.record(pod, { type: 'Warning', reason, message })
    return { failure: { reason, message: `Pod was rejected: ${message}` } }
  }

  const update = (wanted: ReadonlyMap<string, Pod>): void => {
    if (closed) return
    desired = wanted
    for (const [uid, entry] of entries) if (!wanted.has(uid)) end(uid, entry, {})
    for (const [uid, pod] of wanted) {
      const entry = entries.get(uid)
      if (!entry) {
        add(pod)
        continue
      }
      if (entry.source === pod) continue
      entry.source = pod
      const print = printOf(pod)
      if (print === entry.print || !entry.wanted) continue
      entry.print = print
      entry.worker.update(pod)
      const deletion = deletionOf(pod)
      if (deletion) entry.worker.terminate(deletion)
    }
  }

  return {
    update,
    wake: (uid) => entries.get(uid)?.worker.wake(),
    wakeAll() {
      for (const { worker } of entries.values()) worker.wake()
    },
    endOrphans(inRuntime) {
      for (const [uid, { name, namespace }] of inRuntime) {
        if (closed || entries.has(uid) || desired.has(uid)) continue
        log.info({ pod: name, namespace, uid }, 'a pod that nobody wants any more is ended')
        const pod: Pod = { metadata: { uid, name, namespace }, spec: { containers: [] } }
        open(pod, true, { graceSeconds: orphanGraceSeconds })
        const entry = entries.get(uid)
        if (entry) end(uid, entry, { graceSeconds: orphanGraceSeconds })
      }
    },
    get: (uid) => {
      const pod = entries.get(uid)?.worker.pod
      return pod && withStatus(pod, statuses.get(uid))
    },
    pods: () =>
      [...entries.values()].map(({ worker }) => withStatus(worker.pod, statuses.get(worker.pod.metadata?.uid ?? ''))),
    uids: () => new Set([...entries.keys(), ...desired.keys()]),
    async close() {
      closed = true
      await Promise.all([...entries.values()].map(async ({ worker }) => worker.close()))
    },
  }
}

/** One pod that cannot be judged must not keep the others from being. */
function checked(judge: () => Rejection | undefined): Rejection | undefined {
  try {
    return judge()
  } catch (error) {
    return { reason: 'UnexpectedAdmissionError', message: (error as Error).message }
  }
}

function deletionOf({ metadata }: Pod): EndRequest | undefined {
  if (!metadata?.deletionTimestamp) return undefined
  const graceSeconds = metadata.deletionGracePeriodSeconds
  return graceSeconds === undefined ? {} : { graceSeconds }
}
