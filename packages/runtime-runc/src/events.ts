// Container events for any number of readers, none of whom can hold up the runtime.
import { CriError } from '@nodelet/cri-api'

/** More than this unread ends a reader's stream. */
const QUEUE_LIMIT = 1000

export interface EventHub<T> {
  /** Makes the event only when somebody reads. */
  emit(make: () => T): void
  /**
   * The events from now on. Ends when the signal aborts.
   *
   * @throws CriError RESOURCE_EXHAUSTED at a reader that is too slow: it lists anew and reads again.
   */
  read(signal?: AbortSignal): AsyncIterable<T>
  /** How many read now. */
  readonly readers: number
}

/** `limit` is how many events a reader may be behind; default 1000. */
export function createEventHub<T>(limit: number = QUEUE_LIMIT): EventHub<T> {
  const readers = new Set<Reader<T>>()
  const end = (reader: Reader<T>, state: 'left' | 'behind'): void => {
    if (!readers.delete(reader)) return
    reader.state = state
    reader.queue = [] // one that does not even read its end holds nothing
    reader.wake?.()
  }
  return {
    emit: (make) => {
      if (readers.size === 0) return
      const event = make()
      for (const reader of readers) {
        if (reader.queue.length < limit) {
          reader.queue.push(event)
          reader.wake?.()
        } else end(reader, 'behind')
      }
    },
    // Not a generator: the events count from the call, not from the first look.
    read: (signal) => {
      const reader: Reader<T> = { queue: [], state: 'reading' }
      readers.add(reader)
      const leave = (): void => end(reader, 'left')
      if (signal?.aborted) leave()
      else signal?.addEventListener('abort', leave, { once: true })
      return drain(reader, limit, () => {
        signal?.removeEventListener('abort', leave)
        leave()
      })
    },
    get readers() {
      return readers.size
    },
  }
}

interface Reader<T> {
  queue: T[]
  state: 'reading' | 'left' | 'behind'
  wake?: () => void
}

async function* drain<T>(reader: Reader<T>, limit: number, leave: () => void): AsyncGenerator<T> {
  try {
    for (;;) {
      if (reader.state === 'left') return
      if (reader.state === 'behind') {
        throw new CriError('RESOURCE_EXHAUSTED', `more than ${limit} events were not read in time: list and read again`)
      }
      const event = reader.queue.shift()
      if (event !== undefined) {
        yield event
        continue
      }
      const woken = Promise.withResolvers<void>()
      reader.wake = woken.resolve
      await woken.promise
    }
  } finally {
    leave()
  }
}
