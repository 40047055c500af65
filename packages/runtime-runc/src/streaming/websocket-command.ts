// Exec and attach over WebSocket: one channel byte before each message.
import { Readable, Writable } from 'node:stream'
import type { RawData, WebSocket } from 'ws'
import { createFlow, send } from './websocket-flow.ts'
import { runCommand } from './command.ts'
import type { CommandRequest } from './command.ts'
import { createResizes } from './resize.ts'
import { statusText } from './status.ts'
import type { StreamAdapters, StreamIO } from './types.ts'
import { Channel, channelProtocol, decodeMessage, encodeMessage } from './websocket-messages.ts'
import type { ChannelProtocol } from './websocket-messages.ts'

const LINGER_MS = 2000

/** Serves one command on a connected WebSocket, to its end. */
export async function serveWebSocketCommand(
  socket: WebSocket,
  asked: CommandRequest,
  { adapters, probeMs }: { adapters: StreamAdapters; probeMs: number },
): Promise<void> {
  const protocol = channelProtocol(socket.protocol)
  const { stdin, stdout, stderr, tty } = asked.request
  const left = new AbortController()
  socket.on('error', () => {}) // 'close' follows
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  void closed.then(() => left.abort(new Error('the client has left')))
  const resizes = createResizes()
  const flow = createFlow(socket, probeMs)
  const io: StreamIO = {
    ...(stdin ? { stdin: new Readable({ read: flow.resume }).on('error', () => {}) } : {}),
    ...(stdout ? { stdout: output(socket, Channel.stdout, protocol) } : {}),
    ...(stderr && !tty ? { stderr: output(socket, Channel.stderr, protocol) } : {}),
    onResize: resizes.onResize,
  }
  let inputEnded = !stdin
  socket.on('message', (raw: RawData) => {
    const message = decodeMessage(raw as Buffer, protocol)
    if (message?.channel === Channel.resize) return resizes.feed(message.data.toString())
    if (message?.channel === Channel.stdin && !inputEnded && message.data.length > 0) {
      if (!io.stdin?.destroyed && !io.stdin?.push(message.data)) flow.pause()
    }
    if (message?.channel === Channel.close && protocol.closes) {
      if (message.data.length !== 1) return socket.close(1002, 'a close message has one byte')
      if (message.data[0] !== Channel.stdin || inputEnded) return
      inputEnded = true
      io.stdin?.push(null)
    }
  })
  void closed.then(() => io.stdin?.destroy())
  // Clients wait for a first message before they think themselves connected.
  const first = stdout ? Channel.stdout : io.stderr ? Channel.stderr : Channel.error
  await send(socket, encodeMessage(first, Buffer.alloc(0), protocol)).catch(() => {}) // left: the signal says so
  await runCommand(adapters, asked, {
    io,
    signal: left.signal,
    sendStatus: async (status) => {
      const text = statusText(status, protocol.jsonStatus)
      if (text) await send(socket, encodeMessage(Channel.error, Buffer.from(text), protocol))
    },
  })
  flow.resume() // input that nobody reads any more must not keep the close frame from being seen
  socket.close(1000)
  const timer = setTimeout(() => socket.terminate(), LINGER_MS)
  await closed
  clearTimeout(timer)
}

function output(socket: WebSocket, channel: number, protocol: ChannelProtocol): Writable {
  const write = (data: Buffer, _encoding: string, done: (error?: Error | null) => void): void =>
    void send(socket, encodeMessage(channel, data, protocol)).then(() => done(), done)
  return new Writable({ write }).on('error', () => {}) // the command sees the signal
}
