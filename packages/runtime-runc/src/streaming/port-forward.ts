// Port-forward over SPDY: pairs of streams, one for data and one for what went wrong.
import type { Duplex } from 'node:stream'
import { serveSpdy } from './spdy/connection.ts'
import type { SpdyStream } from './spdy/stream.ts'
import type { StreamAdapters } from './types.ts'

export const portForwardProtocol = 'portforward.k8s.io'

export interface PortForwardOptions {
  sandboxId: string
  adapters: StreamAdapters
  /** How long the second stream of a pair may take. */
  creationTimeoutMs: number
  /** As `SpdyOptions.probeMs`. */
  probeMs: number
}

interface Pair {
  error?: SpdyStream
  data?: SpdyStream
  timer: NodeJS.Timeout
}

/** Serves a connection with any number of pairs, to its end. */
export async function servePortForward(socket: Duplex, options: PortForwardOptions): Promise<void> {
  const pairs = new Map<string, Pair>()
  const left = new AbortController()
  const onStream = (stream: SpdyStream): void => {
    const { streamtype: type, requestid } = stream.headers
    if (type !== 'error' && type !== 'data') return void stream.destroy()
    const id = requestid ?? String(type === 'error' ? stream.id : stream.id - 2)
    const pair = pairs.get(id) ?? newPair(id)
    if (pair[type]) return void stream.destroy()
    pair[type] = stream
    const { error, data } = pair
    if (!error || !data) return
    clearTimeout(pair.timer)
    pairs.delete(id)
    void forward(error, data, left.signal, options)
  }
  const newPair = (id: string): Pair => {
    const timer = setTimeout(() => {
      const { error, data } = pairs.get(id) ?? {}
      pairs.delete(id)
      error?.end(`timed out waiting for the data stream of request ${id}`)
      data?.destroy()
    }, options.creationTimeoutMs)
    const pair: Pair = { timer }
    pairs.set(id, pair)
    return pair
  }
  await serveSpdy(socket, { onStream, probeMs: options.probeMs }).closed
  left.abort(new Error('the client has left'))
  for (const { timer } of pairs.values()) clearTimeout(timer)
}

async function forward(
  error: SpdyStream,
  data: SpdyStream,
  left: AbortSignal,
  { sandboxId, adapters }: PortForwardOptions,
): Promise<void> {
  error.resume() // the client only closes its half
  const reset = new AbortController()
  data.once('close', () => reset.abort(new Error('the client has closed the stream')))
  try {
    const port = portOf(data)
    await adapters.portForward({ sandboxId, port }, data, AbortSignal.any([left, reset.signal]))
    error.end()
    data.end()
    data.resume()
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    error.end(`error forwarding port ${data.headers['port'] ?? '?'} to pod ${sandboxId}, uid : ${reason}`)
    data.destroy()
  }
}

function portOf({ headers }: SpdyStream): number {
  const port = Number(headers['port'])
  if (Number.isInteger(port) && port >= 1 && port <= 65_535) return port
  throw new Error(`"${headers['port'] ?? ''}" is not a port: it must be between 1 and 65535`)
}
