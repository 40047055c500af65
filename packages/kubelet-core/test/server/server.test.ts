// The server over TLS, with certificates of openssl's and a client of node's.
import { once } from 'node:events'
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { IncomingMessage, Server } from 'node:http'
import { request } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { CriError } from '@nodelet/cri-api'
import type { AttachRequest, ExecRequest, PortForwardRequest, RuntimeService } from '@nodelet/cri-api'
import { createMemoryRuntime } from '@nodelet/cri-api/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startKubeletServer } from '../../src/index.ts'
import type { KubeletServer, KubeletView } from '../../src/index.ts'
import { makeAuthorities } from './certificates.ts'
import type { Authority, Pair } from './certificates.ts'

const authorities = makeAuthorities()
let ca: Authority
let serving: Pair
let apiServer: Pair
let node: Pair
let stranger: Pair
let root: string
let kubelet: KubeletServer
let streaming: Server
let asked: unknown[] = []
const upstreams: Socket[] = []
const ends = new Map<string, PromiseWithResolvers<void>>()

const pods: Pod[] = [
  {
    metadata: { name: 'web', namespace: 'default', uid: 'u1' },
    spec: { containers: [{ name: 'main' }, { name: 'slow' }], initContainers: [{ name: 'setup' }] },
    status: { phase: 'Running' },
  },
]

const view: KubeletView = {
  pods: () => pods,
  container: (_namespace, pod, container, previous) => {
    if (container === 'slow') {
      return { error: `container "slow" in pod "${pod}" is waiting to start: ContainerCreating`, status: 400 }
    }
    if (previous)
      return { error: `previous terminated container "${container}" in pod "${pod}" not found`, status: 400 }
    if (container === 'setup') return { containerId: 'gone', logPath: 'default_web_u1/setup/0.log' }
    if (container !== 'main') return { error: `container not found ("${container}")`, status: 404 }
    return { containerId: 'c1', logPath: join(root, 'default_web_u1/main/0.log') }
  },
  sandbox: () => ({ sandboxId: 's1' }),
  ended: (containerId) => {
    const end = ends.get(containerId) ?? Promise.withResolvers<void>()
    ends.set(containerId, end)
    return end.promise
  },
}

/** Says what it was asked, then sends everything back, as a runtime's streaming server does after an upgrade. */
function makeStreaming(): Server {
  return createServer().on('upgrade', (incoming: IncomingMessage, socket: Socket, head: Buffer) => {
    upstreams.push(socket)
    asked.push({ method: incoming.method, url: incoming.url, headers: incoming.headers })
    if (incoming.url === '/exec/refused') return socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno')
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${incoming.headers.upgrade}\r\n\r\n`,
    )
    socket.write(head)
    socket.pipe(socket)
  })
}

beforeAll(async () => {
  ca = authorities.make('ca')
  serving = ca.sign('/CN=node')
  apiServer = ca.sign('/O=system:masters/CN=kube-apiserver-kubelet-client')
  node = ca.sign('/O=system:nodes/CN=system:node:other')
  stranger = authorities.make('other').sign('/O=system:masters/CN=kube-apiserver-kubelet-client')
  root = mkdtempSync(join(tmpdir(), 'kubelet-logs-'))
  mkdirSync(join(root, 'default_web_u1/main'), { recursive: true })
  streaming = makeStreaming()
  await once(streaming.listen(0, '127.0.0.1'), 'listening')
  const base = `http://127.0.0.1:${(streaming.address() as AddressInfo).port}`
  const answer = (kind: string) => (message: ExecRequest | AttachRequest | PortForwardRequest) => {
    asked.push({ kind, ...message })
    if ('cmd' in message && message.cmd[0] === 'gone')
      return Promise.reject(new CriError('NOT_FOUND', 'no such container'))
    return Promise.resolve({ url: `${base}/${kind}/${'cmd' in message ? message.cmd[0] : 'token'}` })
  }
  const runtimeService: RuntimeService = {
    ...createMemoryRuntime().runtimeService,
    exec: answer('exec'),
    attach: answer('attach'),
    portForward: answer('portforward'),
  }
  kubelet = await startKubeletServer({
    address: '127.0.0.1',
    port: 0,
    certificate: serving.cert,
    key: serving.key,
    clientCa: ca.cert,
    node: view,
    runtimeService,
    containerLogsRoot: root,
    allowedNames: ['system:masters'],
  })
})
afterAll(async () => {
  await kubelet.close()
  streaming.close()
  streaming.closeAllConnections()
  rmSync(root, { recursive: true })
  authorities[Symbol.dispose]()
})

interface Answer {
  status: number
  body: string
}

async function get(path: string, client: Pair | undefined = apiServer): Promise<Answer> {
  const outgoing = request({ host: '127.0.0.1', port: kubelet.port, path, ca: ca.cert, agent: false, ...client })
  outgoing.end()
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
  let body = ''
  for await (const chunk of response) body += String(chunk)
  return { status: response.statusCode ?? 0, body }
}

/** Sends bytes over TLS and collects what comes back. */
async function raw(
  text: string,
  client: Pair = apiServer,
): Promise<{ socket: ReturnType<typeof connect>; text(): string }> {
  const socket = connect({ host: '127.0.0.1', port: kubelet.port, ca: ca.cert, ...client })
  await once(socket, 'secureConnect')
  let received = ''
  socket.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')))
  socket.write(text)
  return { socket, text: () => received }
}

const upgradeTo = (path: string, protocol: string, method = 'POST'): string =>
  `${method} ${path} HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nAuthorization: Bearer secret\r\n\r\n`

async function until(done: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 5000; !done();) {
    if (Date.now() > deadline) throw new Error('timed out')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const log = (...texts: string[]): string =>
  texts.map((text) => `2026-11-23T08:00:00.000000001+00:00 stdout F ${text}\n`).join('')

test('only clients of the client CA are known, and of those only the allowed are let in', async () => {
  expect(await get('/healthz')).toEqual({ status: 200, body: 'ok' })
  expect(await get('/healthz', { cert: '', key: '' })).toEqual({ status: 401, body: 'Unauthorized' })
  expect(await get('/healthz', stranger)).toEqual({ status: 401, body: 'Unauthorized' })
  expect(await get('/containerLogs/default/web/main', node)).toEqual({
    status: 403,
    body: 'Forbidden (user=system:node:other, verb=get, resource=nodes, subresource(s)=[proxy])',
  })
  expect((await get('/pods', node)).body).toMatch(/subresource\(s\)=\[pods proxy\]\)$/)
  const { socket, text } = await raw(upgradeTo('/exec/default/web/main?command=x&output=1', 'SPDY/3.1'), stranger)
  await once(socket, 'end')
  expect(text()).toMatch(/^HTTP\/1.1 401 .*\r\n\r\nUnauthorized\n$/s)
})

test('lists the pods; other paths are not found', async () => {
  const { status, body } = await get('/pods')
  expect(status).toBe(200)
  expect(JSON.parse(body)).toEqual({ kind: 'PodList', apiVersion: 'v1', metadata: {}, items: pods })
  expect(await get('/nothing')).toEqual({ status: 404, body: '404 page not found' })
  expect((await get('/containerLogs/default/web')).status).toBe(404)
})

test('serves logs', async () => {
  writeFileSync(join(root, 'default_web_u1/main/0.log'), log('one', 'two', 'three'))
  expect(await get('/containerLogs/default/web/main')).toEqual({ status: 200, body: 'one\ntwo\nthree\n' })
  expect((await get('/containerLogs/default/web/main?tailLines=1')).body).toBe('three\n')
  expect((await get('/containerLogs/default/web/main?timestamps=true&limitBytes=34')).body).toBe(
    '2026-11-23T08:00:00.000000001Z one',
  )
})

test.each([
  ['/containerLogs/default/none/main', 404, 'pod "none" does not exist'],
  ['/containerLogs/default/web/other', 404, 'container "other" not found in pod "web"'],
  ['/containerLogs/default/web/slow', 400, 'container "slow" in pod "web" is waiting to start: ContainerCreating'],
  ['/containerLogs/default/web/main?previous=true', 400, 'previous terminated container "main" in pod "web" not found'],
  ['/containerLogs/default/web/main?tailLines=-1', 422, '{"message": "Invalid request."}'],
  ['/exec/default/web/main?command=x&output=1', 400, 'Upgrade request required'],
])('refuses %s', async (path, status, body) => {
  expect(await get(path)).toEqual({ status, body })
})

test('a log that is not there is told of', async () => {
  const { status, body } = await get('/containerLogs/default/web/setup?follow=true')
  expect(status).toBe(400)
  expect(body).toMatch(
    /^failed to try resolving symlinks in path ".*setup\/0.log": lstat .*: no such file or directory$/,
  )
})

test('follows a log to the end of the container', async () => {
  const path = join(root, 'default_web_u1/main/0.log')
  writeFileSync(path, '')
  const { socket, text } = await raw('GET /containerLogs/default/web/main?follow=true HTTP/1.1\r\nHost: x\r\n\r\n')
  await until(() => text().startsWith('HTTP/1.1 200')) // before the first line
  appendFileSync(path, log('first'))
  await until(() => text().includes('first\n'))
  appendFileSync(path, log('last'))
  ends.get('c1')?.resolve()
  await until(() => text().endsWith('0\r\n\r\n'))
  expect(text()).toContain('last\n')
  socket.destroy()
})

test.each(['SPDY/3.1', 'websocket'])('passes %s through to the runtime, byte for byte', async (protocol) => {
  asked = []
  const path = '/exec/default/web/main?command=sh&command=-c&command=a%20b&input=1&output=1&error=1'
  const { socket, text } = await raw(
    `${upgradeTo(path, protocol, protocol === 'websocket' ? 'GET' : 'POST')}\u0000early`,
  )
  await until(() => text().endsWith('early'))
  expect(text()).toMatch(new RegExp(`^HTTP/1.1 101 .*Upgrade: ${protocol}\r\n\r\n\u0000early$`, 's'))
  const streams = { stdin: true, stdout: true, stderr: true, tty: false }
  expect(asked[0]).toEqual({ kind: 'exec', containerId: 'c1', cmd: ['sh', '-c', 'a b'], ...streams })
  const seen = asked[1] as { method: string; url: string; headers: Record<string, string> }
  expect(seen).toMatchObject({ method: protocol === 'websocket' ? 'GET' : 'POST', url: '/exec/sh' })
  expect(seen.headers).toMatchObject({ upgrade: protocol, 'x-stream-protocol-version': 'v4.channel.k8s.io' })
  expect(seen.headers['authorization']).toBeUndefined()
  const before = text().length
  socket.write(Buffer.alloc(1 << 20, 1))
  await until(() => text().length === before + (1 << 20))
  upstreams.at(-1)?.end('bye')
  await once(socket, 'close')
  expect(text().endsWith('bye')).toBe(true)
})

test('attach and port-forward, with the pod checked by its UID', async () => {
  asked = []
  const attached = await raw(upgradeTo('/attach/default/web/u1/main?output=1&error=1&tty=1', 'SPDY/3.1'))
  await until(() => attached.text().includes('101'))
  const forwarded = await raw(upgradeTo('/portForward/default/web?port=80', 'SPDY/3.1'))
  await until(() => forwarded.text().includes('101'))
  expect(asked.filter((entry) => 'kind' in (entry as object))).toEqual([
    { kind: 'attach', containerId: 'c1', stdin: false, stdout: true, stderr: false, tty: true },
    { kind: 'portforward', podSandboxId: 's1', port: [80] },
  ])
  attached.socket.destroy()
  forwarded.socket.destroy()
})

test.each([
  ['/exec/default/none/main?command=x&output=1', /^HTTP\/1.1 404 .*\npod does not exist\n$/s],
  ['/exec/default/web/u2/main?command=x&output=1', /^HTTP\/1.1 404 .*\npod does not exist\n$/s],
  ['/exec/default/web/nope?command=x&output=1', /^HTTP\/1.1 404 .*\ncontainer not found \("nope"\)\n$/s],
  ['/exec/default/web/slow?command=x&output=1', /^HTTP\/1.1 404 .*\ncontainer not found \("slow"\)\n$/s],
  ['/attach/default/web/slow?output=1', /^HTTP\/1.1 404 .*\ncontainer not found \("slow"\)\n$/s],
  ['/exec/default/web/main?command=x', /^HTTP\/1.1 400 .*\nyou must specify at least 1 of stdin, stdout, stderr\n$/s],
  ['/exec/default/web/main?command=gone&output=1', /^HTTP\/1.1 404 .*\nno such container\n$/s],
  ['/exec/default/web/main?command=refused&output=1', /^HTTP\/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno$/s],
  ['/portForward/default/web?port=0', /^HTTP\/1.1 400 .*\ninvalid port "0"/s],
])('an upgrade of %s is refused', async (path, expected) => {
  const { socket, text } = await raw(upgradeTo(path, 'SPDY/3.1'))
  await once(socket, 'end')
  expect(text()).toMatch(expected)
})

test('either side that goes takes the other along', async () => {
  const { socket, text } = await raw(upgradeTo('/exec/default/web/main?command=x&output=1', 'SPDY/3.1'))
  await until(() => text().includes('101'))
  const upstream = upstreams.at(-1)
  socket.destroy()
  await until(() => upstream?.destroyed === true)
  const other = await raw(upgradeTo('/exec/default/web/main?command=x&output=1', 'SPDY/3.1'))
  await until(() => other.text().includes('101'))
  upstreams.at(-1)?.destroy()
  await once(other.socket, 'close')
})
