// The end of what is written to a client.
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'

/** Ends a stream and waits until all of it has left. @throws Error when the client goes before */
export async function endOutput(stream: Writable | undefined): Promise<void> {
  if (!stream || stream.destroyed) return
  stream.end()
  await finished(stream, { readable: false })
}
