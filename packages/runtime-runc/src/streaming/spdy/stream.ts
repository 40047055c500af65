// One stream of a SPDY connection.
import { Duplex } from 'node:stream'
import type { Headers } from './headers.ts'

/** Unread bytes of one stream that are held before the whole connection is left unread. */
const READ_AHEAD = 256 << 10

/** A stream that the client opened: readable until its FIN, writable until ours. Destroying it resets it. */
export interface SpdyStream extends Duplex {
  readonly id: number
  readonly headers: Headers
}

/** How a stream reaches its connection. Sending calls back when the bytes have left. */
export interface StreamLink {
  send(data: Buffer, fin: boolean, done: (error?: Error | null) => void): void
  reset(): void
  closed(): void
}

/** The connection's side of a stream. */
export interface StreamEntry {
  stream: SpdyStream
  /** Hands over bytes; a promise is the wait for a reader that has enough. */
  receive(data: Buffer): Promise<void> | undefined
  /** The client's half is closed. */
  end(): void
  /** The stream is gone without our reset. */
  drop(): void
}

export function createStream(id: number, headers: Headers, link: StreamLink): StreamEntry {
  let room: PromiseWithResolvers<void> | undefined
  const state = { received: false, sent: false, dropped: false }
  const release = (): void => {
    room?.resolve()
    room = undefined
  }
  const duplex = new Duplex({
    readableHighWaterMark: READ_AHEAD,
    read: release,
    write: (data: Buffer, _encoding, done) => link.send(data, false, done),
    final: (done) => {
      state.sent = true
      link.send(Buffer.alloc(0), true, done)
    },
    destroy: (error, done) => {
      release()
      if (!state.dropped && !(state.sent && state.received)) link.reset()
      link.closed()
      done(error)
    },
  })
  duplex.on('error', () => {}) // whoever works with the stream sees it; a reset that nobody waits for is no crash
  return {
    stream: Object.assign(duplex, { id, headers }),
    receive: (data) => {
      if (data.length === 0 || state.received || duplex.destroyed || duplex.push(data)) return undefined
      room ??= Promise.withResolvers()
      return room.promise
    },
    end: () => {
      if (state.received) return
      state.received = true
      if (!duplex.destroyed) duplex.push(null)
    },
    drop: () => {
      state.dropped = true
      duplex.destroy()
    },
  }
}
