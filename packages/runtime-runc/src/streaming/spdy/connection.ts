// The server's side of a SPDY/3.1 connection over any byte stream.
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { dataFrame, goAwayFrame, pingFrame, readFrames, ResetCode, resetFrame, synReplyFrame } from './frames.ts'
import type { Frame } from './frames.ts'
import { headerDeflater, headerInflater } from './headers.ts'
import { createStream } from './stream.ts'
import type { SpdyStream, StreamEntry } from './stream.ts'

const MAX_STREAMS = 1000
/** Larger writes become several frames, so that streams take turns. */
const MAX_DATA = 32 << 10
/** How long a client may take to close after we did. */
const LINGER_MS = 2000

export interface SpdyConnection {
  /** Fulfilled when the connection has ended, for whatever reason. */
  readonly closed: Promise<void>
  /** Closes when all that was written has been sent. */
  close(): Promise<void>
}

/** How a connection is served. */
export interface SpdyOptions {
  /** Called after the stream has been answered. */
  onStream(stream: SpdyStream): void
  /** How often a client is pinged while nothing is read from it: only so is seen that it has gone. */
  probeMs: number
}

/** Serves a connection until either side closes. */
export function serveSpdy(socket: Duplex, { onStream, probeMs }: SpdyOptions): SpdyConnection {
  const inflater = headerInflater()
  const deflater = headerDeflater()
  const streams = new Map<number, StreamEntry>()
  let lastId = 0
  let lastPing = 0
  const dropAll = (): void => {
    for (const entry of streams.values()) entry.drop()
  }
  socket.on('error', () => {}) // 'close' follows
  socket.once('close', dropAll) // which ends a wait for their readers

  const write = (bytes: Buffer, done?: (error?: Error | null) => void): void => {
    if (socket.destroyed || socket.writableEnded) return done?.(new Error('the client has left'))
    socket.write(bytes, done)
  }
  const send = (id: number, data: Buffer, fin: boolean, done: (error?: Error | null) => void): void => {
    socket.cork()
    for (let offset = 0; offset + MAX_DATA < data.length; offset += MAX_DATA) {
      write(Buffer.concat([dataFrame(id, MAX_DATA, false), data.subarray(offset, offset + MAX_DATA)]))
    }
    const rest = data.length === 0 ? data : data.subarray(Math.floor((data.length - 1) / MAX_DATA) * MAX_DATA)
    write(Buffer.concat([dataFrame(id, rest.length, fin), rest]), done)
    socket.uncork()
  }
  const open = async ({ id, fin, block }: Frame & { type: 'synStream' }): Promise<void> => {
    const headers = await inflater.code(block)
    if (id <= lastId || id % 2 === 0) throw new Error(`the client opened stream ${id} after ${lastId}`)
    lastId = id
    if (streams.size >= MAX_STREAMS) return write(resetFrame(id, ResetCode.refused))
    const entry = createStream(id, headers, {
      send: (data, last, done) => send(id, data, last, done),
      reset: () => write(resetFrame(id, ResetCode.cancel)),
      closed: () => void streams.delete(id),
    })
    streams.set(id, entry)
    write(synReplyFrame(id, await deflater.code({})))
    if (fin) entry.end()
    onStream(entry.stream)
  }
  const probed = async (wait: Promise<void> | undefined): Promise<void> => {
    if (!wait) return
    const timer = setInterval(() => write(pingFrame((lastPing += 2))), probeMs)
    await wait
    clearInterval(timer)
  }
  const handle = async (frame: Frame): Promise<void> => {
    switch (frame.type) {
      case 'synStream':
        return open(frame)
      case 'data':
        if (frame.id > lastId) throw new Error(`the client sent data on stream ${frame.id}, which it has not opened`)
        await probed(streams.get(frame.id)?.receive(frame.data))
        if (frame.fin) streams.get(frame.id)?.end()
        return
      case 'headers':
      case 'synReply':
        await inflater.code(frame.block) // keeps the compression in step
        if (frame.fin) streams.get(frame.id)?.end()
        return
      case 'reset':
        return streams.get(frame.id)?.drop()
      case 'ping':
        return frame.id % 2 === 1 ? write(pingFrame(frame.id)) : undefined
      case 'goAway':
        return // it may still use the streams that it has
    }
  }
  const run = async (): Promise<void> => {
    try {
      for await (const frame of readFrames(socket)) await handle(frame)
    } catch {
      // a client that breaks the connection or the protocol has left: its streams end below
    } finally {
      socket.destroy()
      dropAll()
      inflater.close()
      deflater.close()
    }
  }
  const closed = run()
  return {
    closed,
    close: async () => {
      write(goAwayFrame(lastId))
      socket.end()
      for (const { stream } of streams.values()) stream.resume() // what still comes is dropped, lest it block the end
      await Promise.race([closed, sleep(LINGER_MS, undefined, { ref: false })])
      socket.destroy()
      await closed
    },
  }
}
