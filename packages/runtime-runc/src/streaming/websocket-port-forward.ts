// Port-forward over plain WebSocket channels: two per port, one for data and one for what went wrong.
import { Duplex } from 'node:stream'
import type { RawData, WebSocket } from 'ws'
import { endOutput } from './end-output.ts'
import type { StreamAdapters } from './types.ts'
import { createFlow, send } from './websocket-flow.ts'
import type { Flow } from './websocket-flow.ts'
import { channelProtocol, decodeMessage, encodeMessage } from './websocket-messages.ts'

/** What is spoken. The ports are named by the request, not by the client's messages. */
export const webSocketPortForwardProtocols = ['v4.channel.k8s.io', 'v4.base64.channel.k8s.io'] as const

export interface WebSocketPortForwardOptions {
  sandboxId: string
  ports: readonly number[]
  adapters: StreamAdapters
  /** As `createFlow`'s. */
  probeMs: number
}

/** Serves a connection until all of its ports have ended, or the client leaves. */
export async function serveWebSocketPortForward(
  socket: WebSocket,
  options: WebSocketPortForwardOptions,
): Promise<void> {
  const { sandboxId, ports, adapters, probeMs } = options
  if (ports.length === 0) return socket.close(1008, 'query parameter "port" is required')
  const protocol = channelProtocol(socket.protocol)
  const left = new AbortController()
  socket.on('error', () => {}) // 'close' follows
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const say = (channel: number, data: Buffer): Promise<void> => send(socket, encodeMessage(channel, data, protocol))
  const flow = createFlow(socket, probeMs)
  const streams = ports.map((_, index) => dataStream((data) => say(2 * index, data), flow))
  void closed.then(() => {
    left.abort(new Error('the client has left'))
    for (const stream of streams) stream.destroy()
  })
  socket.on('message', (raw: RawData) => {
    const message = decodeMessage(raw as Buffer, protocol)
    const stream = message && message.channel % 2 === 0 ? streams[message.channel / 2] : undefined
    if (!stream || stream.destroyed || !message || message.data.length === 0) return
    if (!stream.push(message.data)) flow.pause()
  })
  const forward = async (port: number, index: number): Promise<void> => {
    const bytes = Buffer.alloc(2)
    bytes.writeUInt16LE(port)
    const stream = streams[index]
    if (!stream) return
    try {
      await say(2 * index, bytes)
      await say(2 * index + 1, bytes)
      await adapters.portForward({ sandboxId, port }, stream, left.signal)
      await endOutput(stream)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      const text = `error forwarding port ${port} to pod ${sandboxId}, uid : ${reason}`
      await say(2 * index + 1, Buffer.from(text)).catch(() => {}) // the client has gone, which needs no answer
    } finally {
      stream.destroy()
    }
  }
  await Promise.all(ports.map(forward))
  flow.resume()
  socket.close(1000)
  await closed
}

function dataStream(write: (data: Buffer) => Promise<void>, flow: Flow): Duplex {
  const stream = new Duplex({
    read: flow.resume,
    write: (data: Buffer, _encoding, done) => void write(data).then(() => done(), done),
  })
  return stream.on('error', () => {}) // whoever forwards sees the signal
}
