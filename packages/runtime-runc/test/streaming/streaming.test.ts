// Clients of both kinds against programs in real containers.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { AttachRequest, ExecRequest, PortForwardRequest } from '@nodelet/cri-api'
import { pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createStreamAdapters, openStreaming } from '../../src/index.ts'
import type { Streaming } from '../../src/index.ts'
import { makeFixture, until } from '../fixture.ts'
import type { Config } from '../fixture.ts'
import { spdyConnect } from './spdy-client.ts'
import type { ClientStream, SpdyClient } from './spdy-client.ts'
import { channelConnect } from './web-socket-client.ts'
import type { ChannelClient } from './web-socket-client.ts'

let f: Awaited<ReturnType<typeof makeFixture>>
let streaming: Streaming
let container: string
const networks = new Map<string, string>([['node', 'host']])

beforeAll(async () => {
  f = await makeFixture()
  const adapters = await createStreamAdapters({
    containers: f.containers,
    stateDir: join(f.folder, 'state'),
    runDir: join(f.folder, 'run'),
    networkOf: (id) => networks.get(id) ?? 'host',
  })
  streaming = await openStreaming({ ...adapters, probeMs: 50 })
  container = await start('trap "exit 0" TERM; sleep 1000 & wait', { envs: [{ key: 'A', value: Buffer.from('b') }] })
})
afterAll(async () => {
  await streaming[Symbol.asyncDispose]()
  await f[Symbol.asyncDispose]()
})

async function start(script: string, config: Config = {}): Promise<string> {
  const id = await f.containers.create(f.options(script, config))
  await f.containers.start(id)
  return id
}

const exec = (script: string, streams: Partial<ExecRequest> = {}): string =>
  streaming.exec(
    ExecRequest.fromPartial({
      containerId: container,
      cmd: ['/bin/sh', '-c', script],
      stdout: true,
      stderr: !streams.tty,
      ...streams,
    }),
  )

const v5 = (url: string): Promise<ChannelClient> => channelConnect(url, ['v5.channel.k8s.io', 'v4.channel.k8s.io'])

async function spdy(url: string, types: string[]): Promise<SpdyClient & { streams: Record<string, ClientStream> }> {
  const client = await spdyConnect(url, { 'X-Stream-Protocol-Version': 'v5.channel.k8s.io, v4.channel.k8s.io' })
  expect(client.head).toMatch(/^HTTP\/1.1 101 .*X-Stream-Protocol-Version: v4.channel.k8s.io\r\n/s)
  const streams: Record<string, ClientStream> = {}
  for (const streamtype of types) streams[streamtype] = await client.open({ streamtype })
  return Object.assign(client, { streams })
}

const success = { metadata: {}, status: 'Success' }
const exited = (code: number): object => ({
  metadata: {},
  status: 'Failure',
  message: `command terminated with non-zero exit code: exit status ${code}`,
  reason: 'NonZeroExitCode',
  details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
})

/** The programs in the container by their command lines. */
const programs = (): string[] =>
  readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      } catch {
        return '' // it has just ended
      }
    })

test('WebSocket: output on its channels, the status last, with the environment of the container', async () => {
  const client = await v5(exec('echo out-$A; echo err >&2; exit 3'))
  expect(client.socket.protocol).toBe('v5.channel.k8s.io')
  expect(await client.closed).toBe(1000)
  expect(client.text(1)).toBe('out-b\n')
  expect(client.text(2)).toBe('err\n')
  expect(JSON.parse(client.text(3))).toEqual(exited(3))
  expect(client.channels.at(0)).toBe(1)
  expect(client.channels.at(-1)).toBe(3)
})

test('WebSocket: input is half closed by message 255', async () => {
  const client = await v5(exec('cat; echo end', { stdin: true }))
  client.send(0, 'one ')
  client.send(0, 'two')
  client.send(255, Buffer.of(0))
  await client.closed
  expect(client.text(1)).toBe('one twoend\n')
  expect(JSON.parse(client.text(3))).toEqual(success)
})

test.each([
  ['v4.channel.k8s.io', true],
  ['v4.base64.channel.k8s.io', true],
  ['channel.k8s.io', false],
  ['base64.channel.k8s.io', false],
])('WebSocket: %s', async (protocol, json) => {
  const client = await channelConnect(exec('read x; echo "<$x>"; exit 4', { stdin: true }), ['no.such', protocol])
  client.send(0, 'hello\n')
  await client.closed
  expect(client.text(1)).toBe('<hello>\n')
  if (json) expect(JSON.parse(client.text(3))).toEqual(exited(4))
  else expect(client.text(3)).toBe('command terminated with non-zero exit code: exit status 4')
})

test('SPDY: output, input half closed, exit code, pings, a clean end', async () => {
  const client = await spdy(exec('cat; echo err >&2; exit 7', { stdin: true }), ['error', 'stdin', 'stdout', 'stderr'])
  const { error, stdin, stdout, stderr } = client.streams
  client.ping(5)
  stdin?.write('given')
  stdin?.write('', true)
  await until(() => client.closed, 'the connection closes')
  expect(stdout?.text()).toBe('given')
  expect(stderr?.text()).toBe('err\n')
  expect(JSON.parse(error?.text() ?? '')).toEqual(exited(7))
  expect([stdout, stderr, error].map((stream) => stream?.finished)).toEqual([true, true, true])
  expect([stdout?.reset, error?.reset]).toEqual([undefined, undefined])
  expect(client.pings).toEqual([5])
  expect(client.goneAway).toBe(true)
  expect(client.dictionaryId()).toBe('e3c6a7c2')
})

test('SPDY: older protocols, and those that are not spoken', async () => {
  const old = await spdyConnect(exec('exit 2'), { 'X-Stream-Protocol-Version': 'v2.channel.k8s.io' })
  const error = await old.open({ streamtype: 'error' })
  for (const streamtype of ['stdout', 'stderr']) await old.open({ streamtype })
  await until(() => old.closed, 'the connection closes')
  expect(error.text()).toBe('command terminated with non-zero exit code: exit status 2')
  const other = await spdyConnect(exec('exit 2'), { 'X-Stream-Protocol-Version': 'v9.channel.k8s.io' })
  expect(other.head).toMatch(/^HTTP\/1.1 403 .*X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io, v3/s)
})

test.each(['SPDY', 'WebSocket'])('%s: a megabyte both ways arrives whole, with a slow reader', async (kind) => {
  const input = Buffer.alloc(3 << 20, 'abcdefghij')
  const digest = createHash('sha256').update(input).digest('hex')
  const url = exec('cat', { stdin: true })
  if (kind === 'SPDY') {
    const client = await spdy(url, ['error', 'stdin', 'stdout', 'stderr'])
    client.socket.pause()
    setTimeout(() => client.socket.resume(), 100)
    for (let offset = 0; offset < input.length; offset += 60_000) {
      client.streams['stdin']?.write(input.subarray(offset, offset + 60_000))
    }
    client.streams['stdin']?.write('', true)
    await until(() => client.closed, 'the connection closes', 15_000)
    expect(
      createHash('sha256')
        .update(client.streams['stdout']?.text() ?? '')
        .digest('hex'),
    ).toBe(digest)
  } else {
    const client = await v5(url)
    client.socket.pause()
    setTimeout(() => client.socket.resume(), 100)
    for (let offset = 0; offset < input.length; offset += 60_000)
      client.send(0, input.subarray(offset, offset + 60_000))
    client.send(255, Buffer.of(0))
    await client.closed
    expect(createHash('sha256').update(client.text(1)).digest('hex')).toBe(digest)
  }
})

test('a program that ends without reading its input does not keep the client', async () => {
  const client = await v5(exec('exit 0', { stdin: true }))
  for (let count = 0; count < 50; count++) client.send(0, Buffer.alloc(60_000))
  await client.closed
  expect(JSON.parse(client.text(3))).toEqual(success)
})

test('a terminal: its size at the start and after, echo, colours, one stream', async () => {
  const client = await v5(
    exec('test -t 0 && busybox stty size; echo $TERM; read x; busybox stty size; exit 9', { tty: true, stdin: true }),
  )
  client.send(4, '{"Width":91,"Height":17}')
  await until(() => client.text(1).includes('xterm'), 'the program runs')
  expect(client.text(1)).toBe('17 91\r\nxterm\r\n')
  client.send(4, '{"Width":100,"Hei')
  client.send(4, 'ght":40}{"Width":0,"Height":0}')
  await new Promise((resolve) => setTimeout(resolve, 150))
  client.send(0, 'go\r')
  await client.closed
  expect(client.text(1)).toBe('17 91\r\nxterm\r\ngo\r\n40 100\r\n')
  expect(JSON.parse(client.text(3))).toEqual(exited(9))
})

test('SPDY: a terminal', async () => {
  const url = exec('busybox stty size', { tty: true, stdin: true })
  const client = await spdy(url, ['error', 'stdin', 'stdout', 'resize'])
  client.streams['resize']?.write('{"Width":80,"Height":25}\n')
  await until(() => client.closed, 'the connection closes')
  expect(client.streams['stdout']?.text()).toBe('25 80\r\n')
  expect(JSON.parse(client.streams['error']?.text() ?? '')).toEqual(success)
})

test.each([false, true])('what cannot be run is told in the status, not as output (tty %s)', async (tty) => {
  const client = await v5(exec('', { cmd: ['/no/such'], tty, stdin: true, stderr: !tty }))
  await client.closed
  expect(client.text(1) + client.text(2)).toBe('')
  expect(JSON.parse(client.text(3))).toMatchObject({
    status: 'Failure',
    reason: 'InternalError',
    message: expect.stringMatching(
      /^Internal error occurred: error executing command in container: failed to exec in container .*\/no\/such.*no such file/,
    ),
  })
})

test.each([false, true])('a client that leaves ends its program, with its children (tty %s)', async (tty) => {
  const mark = `98765${Number(tty)}`
  const running = (): boolean => programs().some((line) => line.includes(`sleep ${mark}`))
  const client = await v5(exec(`sleep ${mark} & echo up; wait`, { tty, stdin: true }))
  await until(() => client.text(1).includes('up'), 'the program runs')
  expect(running()).toBe(true)
  client.socket.terminate()
  await until(() => !running(), 'the program is killed')
  const bundle = join(f.folder, 'run/bundles', container)
  await until(() => !readdirSync(bundle).some((name) => name.startsWith('stream-')), 'its folder is removed')
})

test('programs of a former life are ended, and nothing else', async () => {
  const running = (): boolean => programs().some((line) => line.includes('sleep 987655'))
  const client = await v5(exec('echo up; sleep 987655'))
  await until(() => client.text(1) === 'up\n', 'the program runs')
  const foreign = join(f.folder, 'run/bundles', container, 'stream-foreign')
  mkdirSync(foreign)
  writeFileSync(join(foreign, 'pid'), String(process.pid)) // a number that passed to another process: it must live
  await createStreamAdapters({
    containers: f.containers,
    stateDir: join(f.folder, 'state'),
    runDir: join(f.folder, 'run'),
    networkOf: () => 'host',
  })
  await until(() => !running(), 'the program is killed')
  expect(existsSync(foreign)).toBe(false)
  await client.closed
  expect(JSON.parse(client.text(3))).toEqual(exited(137))
})

test('URLs work once, only for their time; requests are validated', async () => {
  const url = exec('true')
  await (
    await v5(url)
  ).closed
  await expect(v5(url)).rejects.toThrow(/404/)
  expect((await fetch(exec('true'))).status).toBe(400)
  expect((await fetch(new URL('/other', url))).status).toBe(404)
  await using brief = await openStreaming({
    tokenTtlMs: 1,
    exec: () => Promise.resolve(0),
    attach: () => Promise.resolve(),
    portForward: () => Promise.resolve(),
  })
  const late = brief.exec(ExecRequest.fromPartial({ containerId: 'x', stdout: true }))
  await new Promise((resolve) => setTimeout(resolve, 10))
  await expect(v5(late)).rejects.toThrow(/404/)
  expect(() => exec('true', { tty: true, stderr: true })).toThrow(/tty and stderr cannot both be true/)
  expect(() => exec('true', { stdout: false, stderr: false })).toThrow(/one of stdin, stdout, or stderr must be set/)
  expect(() => exec('true', { containerId: '' })).toThrow(/container_id/)
  for (let count = 0; count < 1000; count++) brief.exec(ExecRequest.fromPartial({ containerId: 'x', stdout: true }))
})

test('attach: output from now on, input, and the end of the container', async () => {
  const id = await start('echo before; read x; echo "got $x"; echo err >&2; read y || echo closed', {
    stdin: true,
    stdinOnce: true,
    logPath: 'attach.log',
  })
  const url = streaming.attach(AttachRequest.fromPartial({ containerId: id, stdin: true, stdout: true, stderr: true }))
  const client = await v5(url)
  await until(() => f.logLines('attach.log').length > 0, 'the container runs')
  await new Promise((resolve) => setTimeout(resolve, 100))
  client.send(0, 'word\n')
  await until(() => client.text(2).includes('err'), 'it has answered')
  client.send(255, Buffer.of(0))
  await client.closed
  expect(client.text(1).replace('before\n', '')).toBe('got word\nclosed\n')
  expect(JSON.parse(client.text(3))).toEqual(success)
  await f.containers.wait(id)
})

test('attach to a terminal: size, and large input in order', async () => {
  const id = await start(
    'read x; busybox stty size; busybox stty raw -echo; echo ready; busybox head -c 50000 | busybox md5sum',
    {
      stdin: true,
      tty: true,
      logPath: 'tty.log',
    },
  )
  const request = { containerId: id, stdin: true, stdout: true, tty: true }
  const client = await v5(streaming.attach(AttachRequest.fromPartial(request)))
  client.send(4, '{"Width":77,"Height":33}')
  await new Promise((resolve) => setTimeout(resolve, 150))
  client.send(0, '\r')
  await until(() => client.text(1).includes('ready'), 'the size is told')
  expect(client.text(1)).toContain('33 77\r\n')
  const input = Buffer.from(Array.from({ length: 10_000 }, (_, index) => String(10_000 + index)).join(''))
  client.send(0, input)
  await client.closed
  expect(client.text(1)).toContain(createHash('md5').update(input).digest('hex'))
  const stopped = streaming.attach(AttachRequest.fromPartial(request))
  await f.containers.wait(id)
  const late = await v5(stopped)
  await late.closed
  expect(JSON.parse(late.text(3))).toMatchObject({ message: expect.stringMatching(/attaching to container: .*exited/) })
})

test('port-forward: pairs of streams, into the network of the sandbox, and refused ports', async () => {
  await using server = createServer({ allowHalfOpen: true }, (socket) => {
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString())).on('end', () => socket.end(`echo ${text}`))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const forward = async (sandbox: string, data: string): Promise<[ClientStream, ClientStream]> => {
    const url = streaming.portForward(PortForwardRequest.fromPartial({ podSandboxId: sandbox }))
    const client = await spdyConnect(url, { 'X-Stream-Protocol-Version': 'portforward.k8s.io' })
    const headers = { port: String(port), requestid: '0' }
    const error = await client.open({ streamtype: 'error', ...headers }, true)
    const stream = await client.open({ streamtype: 'data', ...headers })
    stream.write(data, true)
    await until(() => error.finished, 'the forward ends')
    client.socket.destroy()
    return [error, stream]
  }
  const [error, stream] = await forward('node', 'hello')
  expect([stream.text(), stream.finished, error.text()]).toEqual(['echo hello', true, ''])

  const netns = join(f.folder, 'netns')
  pinNamespaces({ paths: { net: netns } })
  networks.set('other', netns)
  try {
    const [refusal, nothing] = await forward('other', 'hello')
    expect(refusal.text()).toMatch(/^error forwarding port \d+ to pod other, uid : connect ENETUNREACH/)
    expect([nothing.text(), nothing.reset]).toEqual(['', 5])
  } finally {
    unpinNamespace(netns)
  }
})

test.each(['SPDY', 'WebSocket'])('%s: a client is seen to leave even while its input is held back', async (kind) => {
  const mark = kind === 'SPDY' ? '987661' : '987662'
  const running = (): boolean => programs().some((line) => line.includes(`sleep ${mark}`))
  const url = exec(`echo up; sleep ${mark}`, { stdin: true })
  const flood = Buffer.alloc(2 << 20)
  if (kind === 'SPDY') {
    const client = await spdy(url, ['error', 'stdin', 'stdout', 'stderr'])
    await until(() => client.streams['stdout']?.text() === 'up\n', 'the program runs')
    client.streams['stdin']?.write(flood)
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(running()).toBe(true)
    client.socket.destroy()
  } else {
    const client = await v5(url)
    await until(() => client.text(1) === 'up\n', 'the program runs')
    for (let count = 0; count < 32; count++) client.send(0, flood.subarray(0, 65_536))
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(running()).toBe(true)
    client.socket.terminate()
  }
  await until(() => !running(), 'the program is killed')
})

test.each(['v4.channel.k8s.io', 'v4.base64.channel.k8s.io'])('port-forward over channels of %s', async (protocol) => {
  await using server = createServer((socket) =>
    socket.once('data', (chunk: Buffer) => socket.end(`echo ${chunk.toString()}`)),
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const request = PortForwardRequest.fromPartial({ podSandboxId: 'node', port: [1, port] })
  const client = await channelConnect(streaming.portForward(request), [protocol])
  await until(() => client.channels.includes(3), 'the ports are told')
  client.send(2, 'hello')
  expect(await client.closed).toBe(1000)
  const told = (number: number): string => Buffer.of(number & 255, number >> 8).toString()
  expect(client.text(2)).toBe(`${told(port)}echo hello`)
  expect(client.text(3)).toBe(told(port))
  expect(client.text(1).slice(0, 2)).toBe(told(1))
  expect(client.text(1).slice(2)).toMatch(/^error forwarding port 1 to pod node, uid : connect ECONNREFUSED/)
})
