// Connections to one server: HTTP/2 where it is spoken, so that all watches share a few of them, as those of the Go client do.

import { buildConnector, Pool } from 'undici'
import type { TLSSocket } from 'node:tls'
import type { TlsMaterial } from './credentials.ts'

export interface ConnectionOptions extends TlsMaterial {
  readonly rejectUnauthorized: boolean
  readonly servername?: string
  /** How often the server is asked whether it is still there, in milliseconds; default 15000. */
  readonly pingMs?: number
}

/** Requests that share a connection, if the server allows as many: API servers allow from 100 to 1000. */
const MOST_STREAMS = 1000
/** A server that said nothing for so many pings is dead: 45 seconds, as the Go client waits. */
const SILENT_PINGS = 3
const CONNECT_MS = 10_000

/** Opens a pool; nothing is connected before the first request. Without HTTP/2, requests at the same time have a connection each. */
export const openConnections = (origin: string, { pingMs = 15_000, ...tls }: ConnectionOptions): Pool => {
  const connect = buildConnector({ ...tls, timeout: CONNECT_MS, preferH2: true })
  return new Pool(origin, {
    allowH2: true,
    h2Options: { maxConcurrentStreams: MOST_STREAMS, pingInterval: pingMs },
    connect: (options, done) =>
      connect(options, (...[error, socket]) => {
        if (error) return done(error, null)
        if ('alpnProtocol' in socket && socket.alpnProtocol === 'h2') endWhenSilent(socket, pingMs)
        done(null, socket)
      }),
  })
}

/**
 * A watch may be silent for ever, the answers to pings are not. Turns are counted rather than time: a machine that slept
 * has not lost its server by that.
 */
const endWhenSilent = (socket: TLSSocket, pingMs: number): void => {
  let heard = socket.bytesRead
  let silent = 0
  const timer = setInterval(() => {
    silent = socket.bytesRead === heard ? silent + 1 : 0
    heard = socket.bytesRead
    if (silent < SILENT_PINGS) return
    socket.destroy(new Error(`the server has answered no ping for ${(silent * pingMs) / 1000} s`))
  }, pingMs)
  timer.unref()
  socket.once('close', () => clearInterval(timer))
}
