// Streams that are long, slow, or end in rare ways, with programs in real containers.
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { ExecRequest, PortForwardRequest } from '@nodelet/cri-api'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { createStreamAdapters, openStreaming } from '../../src/index.ts'
import type { Streaming } from '../../src/index.ts'
import { makeFixture, until } from '../fixture.ts'
import { spdyConnect } from './spdy-client.ts'
import type { ClientStream } from './spdy-client.ts'
import { channelConnect } from './web-socket-client.ts'

const MB = 1 << 20

let f: Awaited<ReturnType<typeof makeFixture>>
let streaming: Streaming
let container: string

beforeAll(async () => {
  f = await makeFixture()
  const folders = { stateDir: join(f.folder, 'state'), runDir: join(f.folder, 'run') }
  const adapters = await createStreamAdapters({ containers: f.containers, ...folders, networkOf: () => 'host' })
  streaming = await openStreaming({ ...adapters, probeMs: 50, idleTimeoutMs: 3000 })
  container = await f.containers.create(f.options('sleep 1000'))
  await f.containers.start(container)
})
afterAll(async () => {
  await streaming[Symbol.asyncDispose]()
  await f[Symbol.asyncDispose]()
})

const exec = (script: string, streams: Partial<ExecRequest> = {}): string =>
  streaming.exec(
    ExecRequest.fromPartial({ containerId: container, cmd: ['/bin/sh', '-c', script], stdout: true, ...streams }),
  )

const exited = (code: number): object => ({
  status: 'Failure',
  message: `command terminated with non-zero exit code: exit status ${code}`,
  reason: 'NonZeroExitCode',
  details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
})

test('hundreds of megabytes for a client that stops reading are held back, not held in memory', async () => {
  const total = 300 * MB
  const socket = new WebSocket(exec(`busybox head -c ${total} /dev/zero`).replace('http:', 'ws:'), [
    'v5.channel.k8s.io',
  ])
  let received = 0
  let status = ''
  socket.on('message', (data: Buffer) => {
    if (data[0] === 1) received += data.length - 1
    if (data[0] === 3) status = data.toString('utf8', 1)
  })
  await once(socket, 'open')
  await until(() => received > 0, 'the first bytes')
  const before = process.memoryUsage().rss
  let peak = before
  socket.pause()
  for (let look = 0; look < 10; look++) {
    await new Promise((resolve) => setTimeout(resolve, 50))
    peak = Math.max(peak, process.memoryUsage().rss)
  }
  expect(received).toBeLessThan(total)
  const timer = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 10)
  socket.resume()
  await once(socket, 'close')
  clearInterval(timer)
  expect(received).toBe(total)
  expect(JSON.parse(status)).toMatchObject({ status: 'Success' })
  expect(peak - before).toBeLessThan(total * 0.75)
}, 60_000)

test.each([
  ['kill -9 $$', 137],
  ['kill -15 $$', 143],
  ['/etc/passwd', 126],
  ['/no/such', 127],
])('`%s` ends with %i', async (script, code) => {
  const client = await channelConnect(exec(script), ['v4.channel.k8s.io'])
  await client.closed
  expect(JSON.parse(client.text(3))).toMatchObject(exited(code))
})

test('a burst of sizes leaves the last one', async () => {
  const script = 'echo up; read x; busybox stty size'
  const client = await channelConnect(exec(script, { tty: true, stdin: true }), ['v4.channel.k8s.io'])
  await until(() => client.text(1).includes('up'), 'the program runs')
  for (let side = 1; side <= 500; side++) client.send(4, JSON.stringify({ Width: side + 1, Height: side }))
  await new Promise((resolve) => setTimeout(resolve, 200))
  client.send(0, '\r')
  await client.closed
  expect(client.text(1)).toMatch(/\r\n500 501\r\n$/)
})

test('a connection without a byte is closed after its time, and its program killed', async () => {
  const began = Date.now()
  const running = (): boolean =>
    readdirSync('/proc').some((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('sleep\x00987671')
      } catch {
        return false // no process, or one that has just ended
      }
    })
  const client = await channelConnect(exec('exec sleep 987671'), ['v5.channel.k8s.io'])
  await until(running, 'the program runs')
  expect(await client.closed).toBe(1006)
  expect(Date.now() - began).toBeGreaterThan(2000)
  await until(() => !running(), 'the program is killed')
})

test.each([
  [['v9.channel.k8s.io'], 403],
  [['portforward.k8s.io', 'x'], 403],
])('a WebSocket that offers %j is refused with %i', async (protocols, code) => {
  const message = new RegExp(`Unexpected server response: ${code}`)
  await expect(channelConnect(exec('true'), protocols)).rejects.toThrow(message)
})

test.each(['127.0.0.1', '::1'])('many ports at once over one SPDY connection, to %s', async (address) => {
  await using server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket))
  await once(server.listen(0, address), 'listening')
  const { port } = server.address() as AddressInfo
  const url = streaming.portForward(PortForwardRequest.fromPartial({ podSandboxId: 'node' }))
  const client = await spdyConnect(url, { 'X-Stream-Protocol-Version': 'portforward.k8s.io' })
  const streams: { error: ClientStream; data: ClientStream }[] = []
  for (let request = 0; request < 100; request++) {
    const headers = { port: String(port), requestid: String(request) }
    const error = await client.open({ streamtype: 'error', ...headers }, true)
    const data = await client.open({ streamtype: 'data', ...headers })
    data.write(`${request}:${'x'.repeat(1000)}`, true)
    streams.push({ error, data })
  }
  await until(() => streams.every(({ error }) => error.finished), 'all have ended', 15_000)
  for (const [request, { error, data }] of streams.entries()) {
    expect([data.text(), data.finished, error.text()]).toEqual([`${request}:${'x'.repeat(1000)}`, true, ''])
  }
  client.socket.destroy()
})

test('a forwarded port answers for long after its client has closed its half', async () => {
  await using server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.resume().on('end', () => void setTimeout(() => socket.end('late'), 1200))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const url = streaming.portForward(PortForwardRequest.fromPartial({ podSandboxId: 'node' }))
  const client = await spdyConnect(url, { 'X-Stream-Protocol-Version': 'portforward.k8s.io' })
  const headers = { port: String((server.address() as AddressInfo).port), requestid: '1' }
  const error = await client.open({ streamtype: 'error', ...headers }, true)
  const data = await client.open({ streamtype: 'data', ...headers })
  data.write('question', true)
  await until(() => error.finished, 'the forward ends')
  expect([data.text(), data.finished, data.reset]).toEqual(['late', true, undefined])
  client.socket.destroy()
})
