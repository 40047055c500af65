// Events about pods and the node: counted when they repeat, limited per object, written in the background.
import { events as eventResource, isNotFound, isTransient, type KubeClient, mergePatch } from '@nodelet/kube-client'
import type { Event, ObjectReference, PersistentVolumeClaim, Pod } from 'kubernetes-types/core/v1.d.ts'
import { type Clock, systemClock } from './clock.ts'
import { type Logger, silentLogger } from './log.ts'
import { apiTime } from './pod/time.ts'
import { createTokenBucket, type TokenBucket } from './token-bucket.ts'

export interface NodeletEvent {
  type: 'Normal' | 'Warning'
  reason: string
  message: string
  /** For instance `spec.containers{web}`. */
  fieldPath?: string | undefined
  annotations?: Readonly<Record<string, string>>
}

export interface EventRecorder {
  record(pod: Pod, event: NodeletEvent): void
  recordNode(event: NodeletEvent): void
  recordClaim(claim: PersistentVolumeClaim, event: NodeletEvent): void
  /** Stops; what has not been written is dropped. */
  close(): void
}

export interface EventOptions {
  nodeName: string
  /** None: events go to the log only. */
  client?: Pick<KubeClient, 'create' | 'patch'> | undefined
  /** The object that events of a pod refer to: the mirror of a static pod. Default: the pod. */
  subjectOf?: (pod: Pod) => Pod
  /** Written a second, in all; 0: as many as there are. Default 50. What is more waits. */
  qps?: number
  /** Written at once before that. Default 100. */
  burst?: number
  clock?: Clock
  log?: Logger
}

interface Known {
  name: string
  namespace: string
  count: number
  lastMs: number
}

const maxQueue = 1000
const objectBurst = 25
const refillMs = 300_000
const sameWithinMs = 600_000
const maxKnown = 4096
/** So many events about one object for one reason are told one by one; more are combined. */
const maxSimilar = 10
const tries = 12
const pauseMs = 10_000

export function createEventRecorder(options: EventOptions): EventRecorder {
  const { nodeName, client, subjectOf = (pod) => pod, clock = systemClock, log = silentLogger } = options
  const { qps = 50, burst = 100 } = options
  const mayWrite = qps === 0 ? () => true : createTokenBucket(Math.max(1, burst), 1000 / qps, clock)
  const known = new Map<string, Known>()
  const similar = new Map<string, { messages: Set<string>; lastMs: number }>()
  const buckets = new Map<string, TokenBucket>()
  const queue: (() => Promise<void>)[] = []
  let running = false
  let closed = false
  let serial = 0

  const drain = async (): Promise<void> => {
    running = true
    for (let job = queue.shift(); job && !closed; job = queue.shift()) {
      while (!mayWrite()) await new Promise<void>((resolve) => clock.after(1000 / qps, resolve))
      await job()
    }
    running = false
  }
  const allowed = (object: string): boolean => {
    const mayPass = buckets.get(object) ?? createTokenBucket(objectBurst, refillMs, clock)
    // The one that was asked last is the newest: the oldest are full again, or will be missed least.
    buckets.delete(object)
    buckets.set(object, mayPass)
    const [oldest] = buckets.keys()
    if (buckets.size > maxKnown && oldest !== undefined) buckets.delete(oldest)
    return mayPass()
  }

  /** Whether there are too many of the kind to tell each. */
  const isCombined = (kind: string, message: string): boolean => {
    const nowMs = clock.now()
    const before = similar.get(kind)
    const fresh = before && nowMs - before.lastMs < sameWithinMs
    const messages = fresh ? before.messages : new Set<string>()
    // What is combined need not be told apart any more.
    if (messages.size <= maxSimilar) messages.add(message)
    if (!before && similar.size >= maxKnown) similar.delete(similar.keys().next().value ?? '')
    similar.set(kind, { messages, lastMs: nowMs })
    return messages.size > maxSimilar
  }

  const emit = (about: ObjectReference, single: NodeletEvent): void => {
    const level = single.type === 'Warning' ? 'warn' : 'info'
    log[level](
      { object: `${about.kind}/${about.namespace ?? ''}/${about.name}`, reason: single.reason },
      single.message,
    )
    const object = `${about.uid}`
    if (!client || closed || queue.length >= maxQueue || !allowed(object)) return
    const kind = JSON.stringify([object, about.fieldPath, single.type, single.reason])
    const combined = isCombined(kind, single.message)
    const event = combined ? { ...single, message: `(combined from similar events): ${single.message}` } : single
    const key = combined ? kind : JSON.stringify([kind, single.message])
    const nowMs = clock.now()
    const before = known.get(key)
    if (before && nowMs - before.lastMs < sameWithinMs) {
      before.count++
      before.lastMs = nowMs
      const again = (): Event => eventOf(about, event, { ...before, nowMs: clock.now(), nodeName })
      queue.push(async () => repeat(client, before, combined ? event.message : undefined, { again, clock, log }))
    } else {
      // The pod's namespace; events of the node are in the default one.
      const namespace = about.namespace ?? 'default'
      const name = `${about.name}.${nowMs.toString(16)}${(serial++ & 0xfff).toString(16).padStart(3, '0')}`
      if (known.size >= maxKnown) known.delete(known.keys().next().value ?? '')
      known.set(key, { name, namespace, count: 1, lastMs: nowMs })
      const object = eventOf(about, event, { name, namespace, nowMs, nodeName })
      queue.push(async () => create(client, object, log))
    }
    if (!running) void drain()
  }

  return {
    record(pod, event) {
      const { name, namespace, uid } = subjectOf(pod).metadata ?? {}
      const { fieldPath } = event
      const reference = { kind: 'Pod', apiVersion: 'v1', ...pick({ name, namespace, uid, fieldPath }) }
      emit(reference, event)
    },
    recordNode: (event) => emit({ kind: 'Node', name: nodeName, uid: nodeName }, event),
    recordClaim({ metadata = {} }, event) {
      const { name, namespace, uid } = metadata
      emit({ kind: 'PersistentVolumeClaim', apiVersion: 'v1', ...pick({ name, namespace, uid }) }, event)
    },
    close() {
      closed = true
    },
  }
}

const pick = (fields: Record<string, string | undefined>): ObjectReference =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))

function eventOf(
  involvedObject: ObjectReference,
  { type, reason, message, annotations }: NodeletEvent,
  { name, namespace, nowMs, nodeName }: { name: string; namespace: string; nowMs: number; nodeName: string },
): Event {
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name, namespace, ...(annotations && { annotations }) },
    involvedObject,
    type,
    reason,
    message: message.slice(0, 1024),
    source: { component: 'kubelet', host: nodeName },
    reportingComponent: 'kubelet',
    reportingInstance: nodeName,
    firstTimestamp: apiTime(nowMs),
    lastTimestamp: apiTime(nowMs),
    count: 1,
  }
}

async function create(client: Pick<KubeClient, 'create'>, event: Event, log: Logger): Promise<void> {
  await attempt(async () => client.create(eventResource, event), event.reason ?? '', log)
}

/** One that was deleted meanwhile, or never came there, is made anew with its count. */
async function repeat(
  client: Pick<KubeClient, 'create' | 'patch'>,
  known: Known,
  message: string | undefined,
  { again, clock, log }: { again(): Event; clock: Clock; log: Logger },
): Promise<void> {
  const { name, namespace, count } = known
  const patch = mergePatch({ count, ...(message !== undefined && { message }), lastTimestamp: apiTime(clock.now()) })
  const write = async (): Promise<unknown> => {
    try {
      return await client.patch(eventResource, { name, namespace }, patch)
    } catch (error) {
      if (!isNotFound(error)) throw error
      return client.create(eventResource, { ...again(), count })
    }
  }
  await attempt(write, `repetition ${count}`, log)
}

/** Events are a courtesy: what cannot be written after a few tries is told to the log and dropped. */
async function attempt(call: () => Promise<unknown>, what: string, log: Logger): Promise<void> {
  for (let left = tries; left > 0; left--) {
    try {
      await call()
      return
    } catch (error) {
      if (!isTransient(error) || left === 1) {
        if (!isNotFound(error)) log.debug({ err: error }, `event dropped: ${what}`)
        return
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs).unref())
    }
  }
}
