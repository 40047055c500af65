// kubectl, whose SPDY and WebSocket are Go's own, against the server, through an API server of one pod.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { connect, createServer as createTcpServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { ExecRequest, PortForwardRequest } from '@nodelet/cri-api'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createStreamAdapters, openStreaming } from '../../src/index.ts'
import type { Streaming } from '../../src/index.ts'
import { makeFixture, until } from '../fixture.ts'

let f: Awaited<ReturnType<typeof makeFixture>>
let streaming: Streaming
let container: string
let spoken: (string | undefined)[] = []

const pod = {
  kind: 'Pod',
  apiVersion: 'v1',
  metadata: { name: 'p', namespace: 'default' },
  spec: { containers: [{ name: 'c' }] },
  status: { phase: 'Running' },
}

const podVerbs = {
  name: 'pods',
  singularName: 'pod',
  namespaced: true,
  kind: 'Pod',
  verbs: ['get'],
  shortNames: ['po'],
}
const answers: Record<string, object> = {
  '/api': { kind: 'APIVersions', versions: ['v1'] },
  '/apis': { kind: 'APIGroupList', apiVersion: 'v1', groups: [] },
  '/api/v1': { kind: 'APIResourceList', groupVersion: 'v1', resources: [podVerbs] },
  '/api/v1/namespaces/default/pods/p': pod,
}

/** Answers for the pod, and passes upgrades on byte for byte. */
const api = createServer((request, response) => {
  const body = answers[new URL(request.url ?? '', 'http://x').pathname]
  response.writeHead(body ? 200 : 404, { 'Content-Type': 'application/json' })
  response.end(JSON.stringify(body ?? { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: 404 }))
}).on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
  spoken.push(request.headers.upgrade)
  const { pathname, searchParams: query } = new URL(request.url ?? '', 'http://x')
  const is = (name: string): boolean => query.get(name) === 'true'
  const url = pathname.endsWith('/portforward')
    ? streaming.portForward(PortForwardRequest.fromPartial({ podSandboxId: 'node' }))
    : streaming.exec(
        ExecRequest.fromPartial({
          containerId: container,
          cmd: query.getAll('command'),
          stdin: is('stdin'),
          stdout: is('stdout'),
          stderr: is('stderr') && !is('tty'),
          tty: is('tty'),
        }),
      )
  const target = new URL(url)
  const upstream = connect(Number(target.port), target.hostname)
  const fields = request.rawHeaders.map((text, index) => (index % 2 === 0 ? `${text}: ` : `${text}\r\n`)).join('')
  upstream.write(`${request.method} ${target.pathname} HTTP/1.1\r\n${fields}\r\n`)
  upstream.write(head)
  socket.pipe(upstream).pipe(socket)
  for (const side of [socket, upstream])
    side.on('error', () => {}).on('close', () => [socket, upstream].map((s) => s.destroy()))
})

beforeAll(async () => {
  f = await makeFixture()
  const adapters = await createStreamAdapters({
    containers: f.containers,
    stateDir: `${f.folder}/state`,
    runDir: `${f.folder}/run`,
    networkOf: () => 'host',
  })
  streaming = await openStreaming({ ...adapters, probeMs: 50 })
  container = await f.containers.create(f.options('sleep 1000 & wait'))
  await f.containers.start(container)
  await once(api.listen(0, '127.0.0.1'), 'listening')
})
afterAll(async () => {
  api.close()
  await streaming[Symbol.asyncDispose]()
  await f[Symbol.asyncDispose]()
})

function kubectl(webSockets: boolean, ...args: string[]): ReturnType<typeof spawn> {
  spoken = []
  const server = `--server=http://127.0.0.1:${(api.address() as AddressInfo).port}`
  const env = {
    PATH: process.env['PATH'],
    HOME: f.folder,
    KUBECTL_REMOTE_COMMAND_WEBSOCKETS: String(webSockets),
    KUBECTL_PORT_FORWARD_WEBSOCKETS: String(webSockets),
  }
  return spawn('kubectl', [server, ...args], { env, stdio: 'pipe' })
}

async function run(webSockets: boolean, input: string | Buffer, ...args: string[]): Promise<[string, string, number]> {
  const child = kubectl(webSockets, ...args)
  const texts = ['', '']
  child.stdout?.on('data', (chunk: Buffer) => (texts[0] += chunk.toString()))
  child.stderr?.on('data', (chunk: Buffer) => (texts[1] += chunk.toString()))
  child.stdin?.on('error', () => {}).end(input)
  const [code] = (await once(child, 'close')) as [number]
  return [texts[0] ?? '', (texts[1] ?? '').replace(tooEarly, ''), code]
}

/** kubectl 1.32 may read a server's first message, which is empty, before it has made the streams. */
const tooEarly = /^E.* websocket\.go:\d+\] Unknown stream id 1, discarding message\n/

/** Older ones, such as Debian's, know SPDY only. */
const firstWithWebSockets = 29
const version = execFileSync('kubectl', ['version', '--client'], { encoding: 'utf8' })
const knowsWebSockets =
  Number(
    /v1\.(\d+)|Minor:"(\d+)/
      .exec(version)
      ?.slice(1)
      .find((one) => one),
  ) >= firstWithWebSockets

const ways: [string, boolean, string][] = [
  ...(knowsWebSockets ? ([['WebSocket', true, 'websocket']] satisfies [string, boolean, string][]) : []),
  ['SPDY', false, 'SPDY/3.1'],
]

test.each(ways)('kubectl exec over %s: streams and exit code', async (_, webSockets, upgrade) => {
  const script = 'cat; echo err >&2; exit 5'
  const [out, err, code] = await run(webSockets, 'in\n', 'exec', '-i', 'p', '--', '/bin/sh', '-c', script)
  expect(out).toBe('in\n')
  expect(err).toBe('err\ncommand terminated with exit code 5\n')
  expect(code).toBe(5)
  expect(spoken).toEqual([upgrade])
})

test.each(ways)('kubectl exec over %s: much data to a slow reader, and what cannot be run', async (_, webSockets) => {
  const input = Buffer.alloc(5 << 20, 'abcdefg\n')
  const [out, err, code] = await run(webSockets, input, 'exec', '-i', 'p', '--', 'sh', '-c', 'sleep 0.3; cat')
  expect([out.length, err, code]).toEqual([input.length, '', 0])
  const [nothing, reason, failed] = await run(webSockets, '', 'exec', 'p', '--', '/no/such')
  expect([nothing, failed]).toEqual(['', 1])
  expect(reason).toMatch(/error executing command in container: failed to exec in container .*no such file/)
})

test.each(ways)('kubectl port-forward over %s', async (_, webSockets) => {
  await using server = createTcpServer((socket) => {
    socket.once('data', (chunk: Buffer) => socket.end(`echo ${chunk.toString()}`))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const child = kubectl(webSockets, 'port-forward', 'pod/p', `:${port}`)
  const closed = once(child, 'close') // a refused connection ends some versions
  try {
    let told = ''
    child.stdout?.on('data', (chunk: Buffer) => (told += chunk.toString()))
    child.stderr?.on('data', (chunk: Buffer) => (told += chunk.toString()))
    await until(() => told.includes('Forwarding from 127.0.0.1'), 'kubectl listens')
    const local = Number(/127.0.0.1:(\d+)/.exec(told)?.[1])
    for (const word of ['one', 'two']) {
      const socket = connect(local, '127.0.0.1').setEncoding('utf8')
      socket.write(word)
      expect((await once(socket, 'data'))[0]).toBe(`echo ${word}`)
      socket.destroy()
    }
    server.close()
    const socket = connect(local, '127.0.0.1')
    socket.on('error', () => {}).write('x')
    await until(() => told.includes('error forwarding port'), 'kubectl tells of the refusal')
    expect(told).toMatch(/error forwarding port \d+ to pod node, uid : connect ECONNREFUSED/)
  } finally {
    child.kill()
    await closed
  }
})
