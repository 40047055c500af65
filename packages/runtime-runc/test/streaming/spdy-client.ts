// A SPDY/3.1 client written for the tests alone: it shares no code with the server, only the published dictionary.
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { constants, createDeflate, createInflate } from 'node:zlib'
import { headerDictionary } from '../../src/streaming/spdy/dictionary.ts'

export interface ClientStream {
  id: number
  text(): string
  replied: boolean
  finished: boolean
  reset: number | undefined
  write(data: string | Buffer, fin?: boolean): void
}

export interface SpdyClient {
  socket: Socket
  status: number
  head: string
  /** The number under which zlib knows the dictionary, as sent. */
  dictionaryId(): string
  open(headers: Record<string, string>, fin?: boolean): Promise<ClientStream>
  pings: number[]
  ping(id: number): void
  goneAway: boolean
  closed: boolean
}

export async function spdyConnect(url: string, headers: Record<string, string> = {}): Promise<SpdyClient> {
  const { hostname, port, pathname } = new URL(url)
  const socket = connect(Number(port), hostname)
  const fields = { Host: 'x', Connection: 'Upgrade', Upgrade: 'SPDY/3.1', ...headers }
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(`POST ${pathname} HTTP/1.1\r\n${lines.join('')}Content-Length: 0\r\n\r\n`)
  let pending = Buffer.alloc(0)
  while (!pending.includes('\r\n\r\n')) pending = Buffer.concat([pending, (await once(socket, 'data'))[0] as Buffer])
  const end = pending.indexOf('\r\n\r\n') + 4
  const head = pending.toString('latin1', 0, end)
  pending = pending.subarray(end)

  const deflate = createDeflate({ dictionary: headerDictionary })
  const inflate = createInflate({ dictionary: headerDictionary })
  let firstBlock: Buffer | undefined
  const streams = new Map<number, ClientStream>()
  let nextId = 1
  const client: SpdyClient = {
    socket,
    head,
    status: Number(head.split(' ')[1]),
    dictionaryId: () => firstBlock?.toString('hex', 2, 6) ?? '',
    pings: [],
    goneAway: false,
    closed: false,
    ping: (id) => void socket.write(Buffer.from([0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, id])),
    open: async (names, fin = false) => {
      const id = nextId
      nextId += 2
      const parts: Buffer[] = [number(Object.keys(names).length)]
      for (const text of Object.entries(names).flat()) parts.push(number(Buffer.byteLength(text)), Buffer.from(text))
      deflate.write(Buffer.concat(parts))
      await new Promise<void>((resolve) => deflate.flush(constants.Z_SYNC_FLUSH, resolve))
      const blocks: Buffer[] = []
      for (let chunk = deflate.read() as Buffer | null; chunk; chunk = deflate.read() as Buffer | null)
        blocks.push(chunk)
      const block = Buffer.concat(blocks)
      firstBlock ??= block
      const payload = Buffer.concat([number(id), number(0), Buffer.alloc(2), block])
      socket.write(Buffer.concat([Buffer.from([0x80, 3, 0, 1]), number((fin ? 1 << 24 : 0) | payload.length), payload]))
      const chunks: Buffer[] = []
      const stream: ClientStream & { chunks: Buffer[] } = {
        id,
        chunks,
        text: () => Buffer.concat(chunks).toString(),
        replied: false,
        finished: false,
        reset: undefined,
        write: (data, last = false) => {
          const bytes = Buffer.from(data)
          socket.write(Buffer.concat([number(id), number((last ? 1 << 24 : 0) | bytes.length), bytes]))
        },
      }
      streams.set(id, stream)
      return stream
    },
  }
  const take = (): boolean => {
    if (pending.length < 8) return false
    const length = pending.readUIntBE(5, 3)
    if (pending.length < 8 + length) return false
    const [first, type, flags] = [pending.readUInt32BE(0), pending.readUInt16BE(2), pending[4] ?? 0]
    const payload = pending.subarray(8, 8 + length)
    pending = pending.subarray(8 + length)
    if (first < 0x8000_0000) {
      const stream = streams.get(first) as (ClientStream & { chunks: Buffer[] }) | undefined
      if (!stream?.replied) throw new Error(`data before a reply on stream ${first}`)
      stream.chunks.push(Buffer.from(payload))
      if (flags & 1) stream.finished = true
    } else if (type === 6) client.pings.push(payload.readUInt32BE(0))
    else if (type === 7) client.goneAway = true
    else {
      const stream = streams.get(payload.readUInt32BE(0))
      if (type === 2) inflate.write(payload.subarray(4))
      if (stream && type === 2) stream.replied = true
      if (stream && type === 3) stream.reset = payload.readUInt32BE(4)
    }
    return true
  }
  inflate.on('error', (error) => socket.destroy(error)).resume()
  const onData = (chunk: Buffer): void => {
    pending = Buffer.concat([pending, chunk])
    while (take());
  }
  if (client.status === 101) socket.on('data', onData)
  else socket.on('data', (chunk: Buffer) => (client.head += chunk.toString()))
  if (client.status !== 101) client.head += pending.toString()
  socket.on('close', () => (client.closed = true))
  socket.on('error', () => {})
  return client
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
