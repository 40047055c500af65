// Events of controllers.
import { events } from '@nodelet/kube-client'
import type { KubeClient, KubeObject } from '@nodelet/kube-client'
import type { Event } from 'kubernetes-types/core/v1.d.ts'
import type { Logger } from '../log.ts'

export interface Recorder {
  /** Tells what happened to an object; a failure to write is only logged. */
  record(about: KubeObject, type: 'Normal' | 'Warning', reason: string, message: string): void
}

export function createRecorder(client: KubeClient, component: string, log: Logger | undefined): Recorder {
  return {
    record: (about, type, reason, message) => {
      const { name = '', namespace = 'default', uid, resourceVersion } = about.metadata ?? {}
      const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z')
      const event: Event = {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name: `${name}.${process.hrtime.bigint().toString(16)}`, namespace },
        involvedObject: {
          apiVersion: about.apiVersion ?? '',
          kind: about.kind ?? '',
          name,
          namespace,
          ...(uid !== undefined && { uid }),
          ...(resourceVersion !== undefined && { resourceVersion }),
        },
        type,
        reason,
        message,
        source: { component },
        reportingComponent: component,
        reportingInstance: '',
        firstTimestamp: now,
        lastTimestamp: now,
        count: 1,
      }
      client.create(events, event).catch((error: unknown) => log?.debug({ err: error, reason }, 'event not written'))
    },
  }
}

const mostRemembered = 1000

/** Tells what is tried again and again once: anew when the message is another. Remembers the last thousand. */
export function onlyOnce({ record }: Recorder): Recorder['record'] {
  const said = new Map<string, string>()
  return (about, type, reason, message) => {
    const key = `${about.metadata?.uid} ${reason}`
    if (said.get(key) === message) return
    said.delete(key)
    said.set(key, message)
    const [oldest] = said.keys()
    if (said.size > mostRemembered && oldest !== undefined) said.delete(oldest)
    record(about, type, reason, message)
  }
}
