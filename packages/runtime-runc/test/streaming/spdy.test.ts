// SPDY/3.1 without a container: bytes cut anywhere, and clients that break the rules.
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { expect, test } from 'vitest'
import { servePortForward } from '../../src/streaming/port-forward.ts'
import { serveSpdyCommand } from '../../src/streaming/spdy-command.ts'
import { serveSpdy } from '../../src/streaming/spdy/connection.ts'
import type { SpdyStream } from '../../src/streaming/spdy/stream.ts'
import { readFrames } from '../../src/streaming/spdy/frames.ts'
import type { Frame } from '../../src/streaming/spdy/frames.ts'
import { decodeHeaders, encodeHeaders, headerDeflater, headerInflater } from '../../src/streaming/spdy/headers.ts'
import type { StreamAdapters } from '../../src/streaming/types.ts'
import { until } from '../fixture.ts'

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex')

async function* pieces(whole: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let offset = 0; offset < whole.length; offset += size) yield whole.subarray(offset, offset + size)
}

async function framesOf(whole: Buffer, size: number): Promise<Frame[]> {
  const frames: Frame[] = []
  for await (const frame of readFrames(pieces(whole, size))) frames.push(frame)
  return frames
}

const conversation = bytes(
  '8003 0001 01 00000c 00000003 00000000 0000 aabb' + // SYN_STREAM 3, FIN
    '8003 0004 00 000004 00000000' + // SETTINGS: skipped
    '00000003 00 000003 616263' + // data
    '00000003 01 000000' + // FIN
    '8003 0009 00 000008 00000003 00001000' + // WINDOW_UPDATE: skipped
    '8003 0003 00 000008 00000003 00000005' + // RST_STREAM
    '8003 0006 00 000004 00000007' + // PING
    '8003 0007 00 000008 00000003 00000000', // GOAWAY
)

test.each([1, 2, 3, 7, 8, 9, 1000])('reads frames that come in pieces of %i bytes', async (size) => {
  const frames = await framesOf(conversation, size)
  const data = frames.filter((frame) => frame.type === 'data')
  expect(Buffer.concat(data.map((frame) => frame.data)).toString()).toBe('abc')
  expect(data.map(({ fin }) => fin).filter(Boolean)).toEqual([true])
  expect(frames.filter((frame) => frame.type !== 'data')).toEqual([
    { type: 'synStream', id: 3, fin: true, block: bytes('aabb') },
    { type: 'reset', id: 3, code: 5 },
    { type: 'ping', id: 7 },
    { type: 'goAway' },
  ])
})

test.each([
  ['another version', '8002 0001 00 000000', /does not speak SPDY\/3.1/],
  ['a huge control frame', '8003 0001 00 ffffff', /16777215 bytes is too large/],
])('refuses %s', async (_, hex, message) => {
  await expect(framesOf(bytes(hex), 100)).rejects.toThrow(message)
})

test('headers survive compression, one stream for all blocks, large ones too', async () => {
  const [deflater, inflater] = [headerDeflater(), headerInflater()]
  const blocks = [
    { streamtype: 'error' },
    {},
    { streamtype: 'data', port: '80', requestid: '0' },
    { x: 'é'.repeat(60_000) },
  ]
  for (const headers of blocks) expect(await inflater.code(await deflater.code(headers))).toEqual(headers)
  expect(() => decodeHeaders(encodeHeaders({ a: 'b' }).subarray(0, 9))).toThrow(/cut short/)
  await expect(inflater.code(Buffer.from('no zlib'))).rejects.toThrow()
  deflater.close()
  inflater.close()
})

test('codecs hold nothing of the blocks that have passed', async () => {
  const warnings: Error[] = []
  const onWarning = (warning: Error): void => void warnings.push(warning)
  process.on('warning', onWarning)
  const [deflater, inflater] = [headerDeflater(), headerInflater()]
  for (let count = 0; count < 30; count++) await inflater.code(await deflater.code({ count: String(count) }))
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', onWarning)
  expect(warnings).toEqual([])
  deflater.close()
  inflater.close()
})

test('a block that grows without bounds is refused', async () => {
  const [deflater, inflater] = [headerDeflater(), headerInflater()]
  const halves = [{ a: 'x'.repeat(200_000) }, { a: 'y'.repeat(300_000) }]
  await inflater.code(await deflater.code(halves[0] ?? {}))
  await expect(deflater.code(halves[1] ?? {}).then((block) => inflater.code(block))).rejects.toThrow(
    /larger than 262144/,
  )
})

/** A connection whose server side is served by `serve`. */
async function connected(serve: (socket: Socket) => void): Promise<Socket> {
  const server = createServer({ allowHalfOpen: true }, serve)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(socket, 'connect')
  server.close()
  return socket
}

const adapters: StreamAdapters = {
  exec: () => Promise.resolve(0),
  attach: () => Promise.resolve(),
  portForward: () => Promise.resolve(),
}

/** SYN_STREAM as a first frame, its block compressed by our own codec. */
async function synStream(id: number, headers: Record<string, string>): Promise<Buffer> {
  const deflater = headerDeflater()
  const block = await deflater.code(headers)
  deflater.close()
  const head = bytes('8003 0001 00 000000 00000000 00000000 0000')
  head.writeUIntBE(block.length + 10, 5, 3)
  head.writeUInt32BE(id, 8)
  return Buffer.concat([head, block])
}

test.each([
  ['garbage', () => Promise.resolve(Buffer.from('GET / HTTP/1.1'))],
  ['a stream of the server', () => synStream(2, {})],
  ['a broken header block', () => Promise.resolve(bytes('8003 0001 00 00000c 00000001 00000000 0000 ffff'))],
])('a connection with %s is closed', async (_, make) => {
  const streams: SpdyStream[] = []
  const socket = await connected((peer) => void serveSpdy(peer, { onStream: (s) => streams.push(s), probeMs: 1000 }))
  socket.on('error', () => {}).resume()
  socket.write(await make())
  await new Promise((resolve) => socket.once('close', resolve))
  expect(streams).toEqual([])
})

test('a client that does not open all of its streams is sent away', async () => {
  const request = { containerId: 'c', command: ['x'], tty: false, stdin: false, stdout: true, stderr: false }
  const asked = { kind: 'exec' as const, request }
  const options = { protocol: 'v4.channel.k8s.io' as const, asked, adapters, creationTimeoutMs: 50, probeMs: 1000 }
  const socket = await connected((peer) => void serveSpdyCommand(peer, options))
  socket.resume().write(await synStream(1, { streamtype: 'error' }))
  await new Promise((resolve) => socket.once('close', resolve))
})

test('half a pair of a forwarded port is told so', async () => {
  const options = { sandboxId: 's', adapters, creationTimeoutMs: 50, probeMs: 1000 }
  const socket = await connected((peer) => void servePortForward(peer, options))
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
  socket.write(await synStream(1, { streamtype: 'error', port: '80', requestid: '7' }))
  await until(() => text.includes('timed out waiting for the data stream of request 7'), 'the error is told')
  socket.destroy()
})
