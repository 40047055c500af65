import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { createServer as createTcpServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { Server as GrpcServer, ServerCredentials, status } from '@grpc/grpc-js'
import type { Probe } from 'kubernetes-types/core/v1.d.ts'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ProbeTarget } from '../src/index.ts'
import { createKubeletProber } from '../src/assembly/prober.ts'
import { silentLogger } from '../src/log.ts'
import { createKubeletMetrics } from '../src/metrics/kubelet-metrics.ts'
import { attempt } from '../src/probe/attempt.ts'
import type { Attempt } from '../src/probe/attempt.ts'
import { selfSigned } from './certificates.ts'

const host = '127.0.0.1'
let closers: (() => Promise<void>)[]
let seen: IncomingMessage[]
beforeEach(() => {
  closers = []
  seen = []
})
afterEach(() => Promise.all(closers.map((close) => close())))

async function listen(server: Server): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => sockets.add(socket))
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  closers.push(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  return (server.address() as AddressInfo).port
}

const serve = (answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<number> =>
  listen(
    createServer((request, response) => {
      seen.push(request)
      answer(request, response)
    }),
  )

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const port = await listen(createTcpServer())
  await closers.pop()?.()
  return port
}

const target = (port: number): ProbeTarget => ({
  pod: { metadata: { name: 'p', namespace: 'n', uid: 'u' } },
  container: { name: 'c', ports: [{ name: 'web', containerPort: port }] },
  containerId: 'id',
  podIP: host,
  startedAt: 0,
})
const run = (probe: Probe, port: number, timeoutMs = 1000): Promise<Attempt> =>
  attempt(probe, target(port), {
    exec: () => Promise.reject(new Error('no exec here')),
    timeoutMs,
    userAgent: 'kube-probe/1.36',
    signal: new AbortController().signal,
  })

test('HTTP: a named port, the usual headers, the path as written', async () => {
  const port = await serve((_, response) => response.end('fine'))
  expect(await run({ httpGet: { port: 'web', path: '/a%20b?c=d' } }, port)).toEqual({
    status: 'success',
    message: 'fine',
  })
  expect(seen[0]?.url).toBe('/a%20b?c=d')
  expect(seen[0]?.headers).toEqual({
    'user-agent': 'kube-probe/1.36',
    accept: '*/*',
    host: `${host}:${port}`,
    connection: 'close',
  })
})

test('HTTP: headers of the probe win, an empty Accept takes it away', async () => {
  const port = await serve((_, response) => response.end())
  const httpHeaders = [
    { name: 'Host', value: 'shop.example' },
    { name: 'User-Agent', value: 'mine' },
    { name: 'Accept', value: '' },
    { name: 'X-Two', value: '1' },
    { name: 'X-Two', value: '2' },
  ]
  await run({ httpGet: { port, httpHeaders } }, port)
  expect(seen[0]?.headers).toEqual({ host: 'shop.example', 'user-agent': 'mine', 'x-two': '1, 2', connection: 'close' })
})

test.each([
  [204, 'success', ''],
  [304, 'warning', 'Probe terminated redirects, Response body: '],
  [404, 'failure', 'HTTP probe failed with statuscode: 404'],
  [500, 'failure', 'HTTP probe failed with statuscode: 500'],
])('HTTP: status %i is %s', async (code, expected, message) => {
  const port = await serve((_, response) => response.writeHead(code).end())
  expect(await run({ httpGet: { port } }, port)).toEqual({ status: expected, message })
})

test('HTTP: redirects within the host are followed, ten at most; others are not', async () => {
  const port = await serve((request, response) => {
    const locations: Record<string, string> = { '/in': '/end', '/out': 'http://localhost:1/', '/loop': '/loop' }
    const location = locations[request.url ?? '']
    if (location) response.writeHead(302, { location }).end('moved')
    else response.end('there')
  })
  const probe = (path: string): Promise<Attempt> => run({ httpGet: { port, path } }, port)
  expect(await probe('/in')).toEqual({ status: 'success', message: 'there' })
  expect(await probe('/out')).toEqual({
    status: 'warning',
    message: 'Probe terminated redirects, Response body: moved',
  })
  expect(await probe('/loop')).toEqual({
    status: 'failure',
    message: `Get "http://${host}:${port}/loop": stopped after 10 redirects`,
  })
})

test('HTTP: a warning counts as success, and is told of as an event', async () => {
  const port = await serve((_, response) => response.writeHead(302, { location: 'http://localhost:1/' }).end('moved'))
  const told = Promise.withResolvers<unknown>()
  const pod = target(port).pod
  const prober = createKubeletProber({
    exec: () => Promise.reject(new Error('no exec here')),
    manager: () => ({ wake: () => undefined, refresh: () => undefined, get: () => pod }),
    events: { record: (_pod, event) => told.resolve(event) },
    metrics: createKubeletMetrics(),
    log: silentLogger,
  })
  closers.push(async () => prober.close())
  const { container, ...rest } = { ...target(port), startedAt: Date.now() }
  prober.add({ ...rest, pod, container: { ...container, readinessProbe: { httpGet: { port } } } })
  expect(await told.promise).toEqual({
    type: 'Warning',
    reason: 'ProbeWarning',
    message: 'Readiness probe warning: Probe terminated redirects, Response body: moved',
    fieldPath: 'spec.containers{c}',
  })
  expect(prober.verdict('id', 'readiness')).toBe(true)
})

test('HTTP: no more than 10 KiB of an endless body are read', async () => {
  const port = await serve((_, response) => {
    const more = (): void => {
      while (!response.destroyed && response.write('x'.repeat(4096)));
    }
    response.on('drain', more)
    more()
  })
  const { status: outcome, message } = await run({ httpGet: { port } }, port)
  expect([outcome, message.length]).toEqual(['success', 10 * 1024])
})

test('HTTP: refused, late, and cut connections', async () => {
  const nobody = await freePort()
  expect(await run({ httpGet: { port: nobody } }, nobody)).toEqual({
    status: 'failure',
    message: `Get "http://${host}:${nobody}/": dial tcp ${host}:${nobody}: connect: connection refused`,
  })
  const silent = await serve(() => {})
  expect(await run({ httpGet: { port: silent } }, silent, 100)).toEqual({
    status: 'failure',
    message: `Get "http://${host}:${silent}/": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`,
  })
  const rude = await serve((request) => request.socket.destroy())
  expect(await run({ httpGet: { port: rude } }, rude)).toEqual({
    status: 'failure',
    message: `Get "http://${host}:${rude}/": EOF`,
  })
})

test('HTTPS: certificates are not verified; a plain server is told apart', async () => {
  const port = await listen(createTlsServer(selfSigned(), (_, response) => response.end('secret')))
  expect(await run({ httpGet: { port, scheme: 'HTTPS' } }, port)).toEqual({ status: 'success', message: 'secret' })
  const plain = await serve((_, response) => response.end())
  expect(await run({ httpGet: { port: plain, scheme: 'HTTPS' } }, plain)).toEqual({
    status: 'failure',
    message: `Get "https://${host}:${plain}/": http: server gave HTTP response to HTTPS client`,
  })
})

test('a port that the container does not name is an error, not a failure', async () => {
  expect(await run({ httpGet: { port: 'other' } }, 80)).toEqual({
    status: 'unknown',
    message: 'port "other" is neither a number nor a port of the container',
  })
  expect(await run({ tcpSocket: { port: 70_000 } }, 80)).toEqual({
    status: 'unknown',
    message: 'invalid port number: 70000',
  })
})

test('TCP: connects or is refused', async () => {
  const port = await listen(createTcpServer())
  expect(await run({ tcpSocket: { port: 'web' } }, port)).toEqual({ status: 'success', message: '' })
  const nobody = await freePort()
  expect(await run({ tcpSocket: { port: nobody } }, nobody)).toEqual({
    status: 'failure',
    message: `dial tcp ${host}:${nobody}: connect: connection refused`,
  })
})

async function serveHealth(statuses: Record<string, number>): Promise<number> {
  const server = new GrpcServer()
  const bytes = (value: Buffer): Buffer => value
  const Check = {
    path: '/grpc.health.v1.Health/Check',
    requestStream: false,
    responseStream: false,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  } as const
  server.addService(
    { Check },
    {
      Check: ({ request }: { request: Buffer }, answer: (error: object | null, value?: Buffer) => void) => {
        const found = statuses[request.subarray(2).toString()]
        if (found === undefined) answer({ code: status.NOT_FOUND, details: 'unknown service' })
        else if (found >= 0) answer(null, Buffer.from(found === 0 ? [] : [0x08, found]))
      },
    },
  )
  closers.push(async () => server.forceShutdown())
  return new Promise((resolve, reject) => {
    server.bindAsync(`${host}:0`, ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    )
  })
}

test('gRPC: the answer of a health server', async () => {
  const port = await serveHealth({ '': 1, down: 2, unsure: 0, silent: -1 })
  const probe = (service?: string): Promise<Attempt> =>
    run({ grpc: { port, ...(service === undefined ? {} : { service }) } }, port, service === 'silent' ? 200 : 1000)
  expect(await probe()).toEqual({ status: 'success', message: 'service healthy' })
  expect(await probe('down')).toEqual({
    status: 'failure',
    message: 'service unhealthy (responded with "NOT_SERVING")',
  })
  expect(await probe('unsure')).toEqual({ status: 'failure', message: 'service unhealthy (responded with "UNKNOWN")' })
  expect(await probe('other')).toEqual({
    status: 'failure',
    message: 'error: health rpc probe failed: rpc error: code = 5 desc = unknown service',
  })
  expect(await probe('silent')).toEqual({
    status: 'failure',
    message: 'timeout: health rpc did not complete within 0.2s: context deadline exceeded',
  })
})

test('gRPC: servers without health, without gRPC, and none', async () => {
  const server = new GrpcServer()
  closers.push(async () => server.forceShutdown())
  const port = await new Promise<number>((resolve) => {
    server.bindAsync(`${host}:0`, ServerCredentials.createInsecure(), (_, bound) => resolve(bound))
  })
  expect((await run({ grpc: { port } }, port)).message).toMatch(
    /^error: this server does not implement the grpc health protocol \(grpc.health.v1.Health\): /,
  )
  const nobody = await freePort()
  expect(await run({ grpc: { port: nobody } }, nobody)).toEqual({
    status: 'failure',
    message: `error: failed to connect service at "${host}:${nobody}": dial tcp ${host}:${nobody}: connect: connection refused`,
  })
  const plain = await serve((_, response) => response.end())
  expect(await run({ grpc: { port: plain } }, plain)).toMatchObject({ status: 'failure' })
  const silent = await listen(createTcpServer())
  expect((await run({ grpc: { port: silent } }, silent, 200)).message).toMatch(/^timeout: /)
})
