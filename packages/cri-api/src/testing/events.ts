// Container events for any number of readers.
import { EventEmitter, on } from 'node:events'
import { ContainerEventResponse, type ContainerEventType } from '../gen/runtime.ts'
import { now } from './store.ts'

export interface Events {
  emit(containerId: string, type: ContainerEventType): void
  /** The events from now on, until the signal aborts: that ends the stream and is no error. */
  events(signal?: AbortSignal): AsyncIterable<ContainerEventResponse>
}

export function createEvents(): Events {
  const emitter = new EventEmitter().setMaxListeners(0)
  return {
    emit: (containerId, containerEventType) =>
      void emitter.emit(
        'event',
        ContainerEventResponse.fromPartial({ containerId, containerEventType, createdAt: now() }),
      ),
    async *events(signal) {
      try {
        for await (const [event] of on(emitter, 'event', signal ? { signal } : {}))
          yield event as ContainerEventResponse
      } catch (error) {
        if (!signal?.aborted) throw error
      }
    },
  }
}
