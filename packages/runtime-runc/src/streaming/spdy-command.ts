// Exec and attach over SPDY: one stream per channel.
import type { Duplex } from 'node:stream'
import { createResizes } from './resize.ts'
import { runCommand } from './command.ts'
import type { CommandRequest } from './command.ts'
import { serveSpdy } from './spdy/connection.ts'
import type { SpdyStream } from './spdy/stream.ts'
import { statusText } from './status.ts'
import type { StreamAdapters } from './types.ts'

/** What is spoken, the newest first. */
export const spdyCommandProtocols = [
  'v4.channel.k8s.io',
  'v3.channel.k8s.io',
  'v2.channel.k8s.io',
  'channel.k8s.io',
] as const
type Protocol = (typeof spdyCommandProtocols)[number]

export interface SpdyCommandOptions {
  protocol: Protocol
  asked: CommandRequest
  adapters: StreamAdapters
  /** How long the client may take to open its streams. */
  creationTimeoutMs: number
  /** As `SpdyOptions.probeMs`. */
  probeMs: number
}

/** Serves one command on an upgraded connection, to its end. */
export async function serveSpdyCommand(socket: Duplex, options: SpdyCommandOptions): Promise<void> {
  const { protocol, asked, adapters } = options
  const wanted = wantedStreams(asked, protocol)
  const streams = new Map<string, SpdyStream>()
  const complete = Promise.withResolvers<boolean>()
  const onStream = (stream: SpdyStream): void => {
    const type = stream.headers['streamtype'] ?? ''
    if (!wanted.includes(type) || streams.has(type)) return void stream.destroy()
    streams.set(type, stream)
    if (streams.size === wanted.length) complete.resolve(true)
  }
  const connection = serveSpdy(socket, { onStream, probeMs: options.probeMs })
  const left = new AbortController()
  void connection.closed.then(() => {
    left.abort(new Error('the client has left'))
    complete.resolve(false)
  })
  const timer = setTimeout(() => complete.resolve(false), options.creationTimeoutMs)
  const all = await complete.promise
  clearTimeout(timer)
  if (!all) return connection.close()

  const resizes = createResizes()
  const { error, stdin, stdout, stderr, resize } = Object.fromEntries(streams)
  resize?.setEncoding('utf8').on('data', resizes.feed)
  for (const output of [error, stdout, stderr]) output?.resume() // the client only closes its half
  if (protocol === 'channel.k8s.io') stdin?.end()
  const io = { ...(stdin ? { stdin } : {}), ...(stdout ? { stdout } : {}), ...(stderr ? { stderr } : {}) }
  await runCommand(adapters, asked, {
    io: { ...io, onResize: resizes.onResize },
    signal: left.signal,
    sendStatus: async (status) => {
      const text = statusText(status, protocol === 'v4.channel.k8s.io')
      await new Promise<void>((resolve) => error?.once('close', resolve).end(text, resolve))
    },
  })
  await connection.close()
}

function wantedStreams({ request }: CommandRequest, protocol: Protocol): string[] {
  const { stdin, stdout, stderr, tty } = request
  const resizes = tty && (protocol === 'v4.channel.k8s.io' || protocol === 'v3.channel.k8s.io')
  return [
    'error',
    ...(stdin ? ['stdin'] : []),
    ...(stdout ? ['stdout'] : []),
    ...(stderr && !tty ? ['stderr'] : []),
    ...(resizes ? ['resize'] : []),
  ]
}
