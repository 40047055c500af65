// Container events for any number of readers, none of whom can hold up the runtime.
import { CriError } from '@nodelet/cri-api'

/** More than this unread ends a reader's stream. */
const QUEUE_LIMIT = 1000

export interface EventHub<T> {
  emit(event: T): void
  /**
   * The events from now on. Ends when the signal aborts.
   *
   * @throws CriError RESOURCE_EXHAUSTED at a reader that is too slow: it lists anew and reads again.
   */
  read(signal?: AbortSignal): AsyncIterable<T>
}

/** `limit` is how many events a reader may be behind; default 1000. */
export function createEventHub<T>(limit: number = QUEUE_LIMIT): EventHub<T> {
  const readers = new Set<Reader<T>>()
  return {
    emit: (event) => {
      for (const reader of readers) {
        if (reader.queue.length < limit) reader.queue.push(event)
        else reader.overflow = true
        reader.wake?.()
      }
    },
    // Not a generator: the events count from the call, not from the first look.
    read: (signal) => {
      const reader: Reader<T> = { queue: [], overflow: false }
      readers.add(reader)
      const leave = (): void => {
        readers.delete(reader)
        reader.wake?.()
      }
      if (signal?.aborted) leave()
      else signal?.addEventListener('abort', leave, { once: true })
      return drain(reader, readers, limit, () => {
        signal?.removeEventListener('abort', leave)
        leave()
      })
    },
  }
}

interface Reader<T> {
  queue: T[]
  overflow: boolean
  wake?: () => void
}

async function* drain<T>(
  reader: Reader<T>,
  readers: ReadonlySet<Reader<T>>,
  limit: number,
  leave: () => void,
): AsyncGenerator<T> {
  try {
    while (readers.has(reader)) {
      const event = reader.queue.shift()
      if (event !== undefined) {
        yield event
        continue
      }
      if (reader.overflow) {
        throw new CriError('RESOURCE_EXHAUSTED', `more than ${limit} events were not read in time: list and read again`)
      }
      const woken = Promise.withResolvers<void>()
      reader.wake = woken.resolve
      await woken.promise
    }
  } finally {
    leave()
  }
}
