// Lists as the messages of a stream.
import { setImmediate as turn } from 'node:timers/promises'

/** How many items one message has at most, and about how many bytes. */
const mostItems = 500
const mostBytes = 1 << 20
/** After so many items others have their turn. */
const itemsPerTurn = 100

/** A generated message's own code. */
export interface Encoder<T> {
  encode(item: T): { finish(): Uint8Array }
}

/** Every item once, in order. One that is larger than a message may be is alone; without items there is no message. */
export async function* batches<T>(items: readonly T[], encoder: Encoder<T>): AsyncGenerator<T[]> {
  let batch: T[] = []
  let bytes = 0
  for (const [index, item] of items.entries()) {
    if (index % itemsPerTurn === itemsPerTurn - 1) await turn()
    const size = encoder.encode(item).finish().length
    if (batch.length === mostItems || (batch.length > 0 && bytes + size > mostBytes)) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(item)
    bytes += size
  }
  if (batch.length > 0) yield batch
}
