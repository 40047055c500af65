// Events that the proxy writes: on the Node, and on Services.
import { hostname } from 'node:os'
import {
  defineResource,
  events as coreEvents,
  isNotFound,
  mergePatch,
  type KubeClient,
  type KubeObject,
} from '@nodelet/kube-client'
import type { Event as CoreEvent } from 'kubernetes-types/core/v1.d.ts'
import type { Logger } from './log.ts'

export interface ProxyEvent {
  type: 'Normal' | 'Warning'
  reason: string
  action: 'StartKubeProxy' | 'Listen'
  note: string
}

export interface EventRecorder {
  onNode(event: ProxyEvent): void
  onService(namespace: string, name: string, event: ProxyEvent): void
  /** Takes no more; what has not been written within a second is dropped. */
  close(): Promise<void>
}

/** @see events.k8s.io/v1 Event */
interface ApiEvent extends KubeObject {
  eventTime: string
  reportingController: string
  reportingInstance: string
  action: string
  reason: string
  regarding: { kind: string; namespace?: string; name: string; uid: string }
  note: string
  type: string
  series?: { count: number; lastObservedTime: string }
}

const events = defineResource<ApiEvent>({
  group: 'events.k8s.io',
  version: 'v1',
  plural: 'events',
  kind: 'Event',
  namespaced: true,
})

/** An event that comes again within this time is the same: a series, in milliseconds. */
const seriesMs = 6 * 60 * 1000
/** A series is written when it begins, and then no more often than this. */
const refreshMs = 30 * 60 * 1000
const mostKnown = 1000
/** How long the last ones may take when the proxy ends, in milliseconds: they may say why. */
const lingerMs = 1000
/** Waiting to be written; what is more is dropped. */
const mostWaiting = 100

interface Known {
  name: string
  namespace: string
  count: number
  seenMs: number
  writtenMs: number
}

export interface RecorderOptions {
  /** None: events are not written. */
  client: Pick<KubeClient, 'create' | 'patch'> | undefined
  nodeName: string
  log: Logger
  /** Milliseconds since the epoch. */
  now?: () => number
}

export function createRecorder({ client, nodeName, log, now = Date.now }: RecorderOptions): EventRecorder {
  const known = new Map<string, Known>()
  let serial = 0
  let waiting = 0
  /** The server has no `events.k8s.io`: the older kind of event is written. */
  let isOld = false
  let isClosed = false
  const closing = new AbortController()
  const { signal } = closing
  let writing = Promise.resolve()

  /** Events are a courtesy: what cannot be written is dropped. */
  const write = (reason: string, call: (to: Pick<KubeClient, 'create' | 'patch'>) => Promise<unknown>): void => {
    if (!client || isClosed || waiting >= mostWaiting) return
    waiting += 1
    writing = writing.then(async () => {
      try {
        if (!signal.aborted) await call(client)
      } catch (error) {
        log.debug({ err: error, reason }, 'an event could not be written')
      }
      waiting -= 1
    })
  }
  const emit = (regarding: ApiEvent['regarding'], event: ProxyEvent): void => {
    const nowMs = now()
    const key = JSON.stringify([regarding, event])
    const before = known.get(key)
    if (before && nowMs - before.seenMs < seriesMs) return again(before, event.reason, nowMs)
    // Of cluster-wide objects they are in the default namespace.
    const namespace = regarding.namespace ?? 'default'
    const name = `${regarding.name}.${(BigInt(nowMs) * 1_000_000n + BigInt(serial++ % 1_000_000)).toString(16)}`
    known.delete(key)
    const [oldest] = known.keys()
    if (known.size >= mostKnown && oldest !== undefined) known.delete(oldest)
    known.set(key, { name, namespace, count: 1, seenMs: nowMs, writtenMs: -Infinity })
    const object: ApiEvent = {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name, namespace },
      eventTime: microTime(nowMs),
      reportingController: 'kube-proxy',
      reportingInstance: `kube-proxy-${hostname()}`,
      action: event.action,
      reason: event.reason,
      regarding,
      note: event.note.slice(0, 1024),
      type: event.type,
    }
    write(event.reason, async (to) => create(to, object))
  }
  const create = async (to: Pick<KubeClient, 'create'>, object: ApiEvent): Promise<unknown> => {
    if (isOld) return to.create(coreEvents, coreEvent(object), { signal })
    try {
      return await to.create(events, object, { signal })
    } catch (error) {
      if (!isNotFound(error)) throw error
      isOld = true
      return create(to, object)
    }
  }
  const again = (before: Known, reason: string, nowMs: number): void => {
    before.count += 1
    before.seenMs = nowMs
    if (nowMs - before.writtenMs < refreshMs) return
    before.writtenMs = nowMs
    const { name, namespace } = before
    const series = { count: before.count, lastObservedTime: microTime(nowMs) }
    write(reason, async (to) =>
      to.patch<KubeObject>(isOld ? coreEvents : events, { name, namespace }, mergePatch({ series }), { signal }),
    )
  }
  return {
    onNode: (event) => emit({ kind: 'Node', name: nodeName, uid: nodeName }, event),
    onService: (namespace, name, event) =>
      emit({ kind: 'Service', namespace, name, uid: `${namespace}/${name}` }, event),
    close: async () => {
      isClosed = true
      const limit = setTimeout(() => closing.abort(), lingerMs)
      await writing
      clearTimeout(limit)
    },
  }
}

/** As Kubernetes writes a MicroTime. */
const microTime = (ms: number): string => new Date(ms).toISOString().replace('Z', '000Z')

function coreEvent({ metadata, regarding, note, reportingController, ...rest }: ApiEvent): CoreEvent {
  return {
    ...rest,
    apiVersion: 'v1',
    kind: 'Event',
    metadata: metadata ?? {},
    involvedObject: regarding,
    message: note,
    reportingComponent: reportingController,
  }
}
