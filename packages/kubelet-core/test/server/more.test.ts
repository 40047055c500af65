// What the server shows beside logs and streams, to whom, and its health.
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { get as plainGet, type IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ExecSyncResponse } from '@nodelet/cri-api'
import { createMemoryRuntime } from '@nodelet/cri-api/testing'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type HealthCheck, healthAnswer, startHealthServer } from '../../src/server/health.ts'
import type { RequestLabels } from '../../src/server/measure.ts'
import { startReadOnlyServer } from '../../src/server/read-only.ts'
import { flagsOf, flagsText } from '../../src/server/flagz.ts'
import { createReviews } from '../../src/server/reviews.ts'
import { statusText } from '../../src/server/statusz.ts'
import { routeOf } from '../../src/server/routes.ts'
import { type KubeletServer, type KubeletServerOptions, startKubeletServer } from '../../src/server/server.ts'
import { neededAccess } from '../../src/server/user.ts'
import { makeAuthorities, type Pair } from './certificates.ts'

const authorities = makeAuthorities()
const ca = authorities.make('ca')
const [serving, admin, other] = [
  ca.sign('/CN=node'),
  ca.sign('/O=system:masters/CN=admin'),
  ca.sign('/O=team/CN=somebody'),
]
const pod: Pod = {
  metadata: { name: 'web', namespace: 'shop', uid: 'u1' },
  spec: { containers: [{ name: 'main' }] },
}
const nobody: Pair = { cert: '', key: '' }
let root: string
const servers: KubeletServer[] = []
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'kubelet-server-'))
})
afterAll(async () => {
  for (const server of servers) await server.close()
  rmSync(root, { recursive: true })
  authorities[Symbol.dispose]()
})

interface Call {
  method?: string
  client?: Pair
  token?: string
  body?: string
  signal?: AbortSignal
}

async function open(more: Partial<KubeletServerOptions> = {}, view: Partial<KubeletServerOptions['node']> = {}) {
  const { runtimeService } = createMemoryRuntime()
  const server = await startKubeletServer({
    address: '127.0.0.1',
    port: 0,
    certificate: serving.cert,
    key: serving.key,
    clientCa: ca.cert,
    allowedNames: ['system:masters'],
    node: {
      pods: () => [pod],
      container: () => ({ containerId: 'c1', logPath: '' }),
      sandbox: () => ({ sandboxId: 's1' }),
      ended: async () => {},
      ...view,
    },
    runtimeService: {
      ...runtimeService,
      execSync: async ({ cmd }) =>
        ExecSyncResponse.fromPartial({
          exitCode: cmd[0] === 'false' ? 3 : 0,
          stdout: Buffer.from(cmd.join('|')),
          stderr: Buffer.from('!'),
        }),
    },
    containerLogsRoot: root,
    systemLogs: root,
    ...more,
  })
  servers.push(server)
  return async (path: string, { method = 'GET', client = admin, token = '', body = '', ...more }: Call = {}) => {
    const headers = token ? { authorization: `Bearer ${token}` } : {}
    const options = { host: '127.0.0.1', port: server.port, path, method, headers, ca: ca.cert, agent: false }
    const outgoing = request({ ...options, ...client, ...more })
    outgoing.end(body)
    return answerOf(outgoing)
  }
}

async function answerOf(outgoing: ReturnType<typeof request>): Promise<{ status: number; body: string }> {
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
  const parts = await response.setEncoding('utf8').toArray()
  return { status: response.statusCode ?? 0, body: parts.join('') }
}

test('runs a command, lists what runs, shows its configuration and takes checkpoints', async () => {
  const taken: unknown[] = []
  const call = await open(
    {},
    {
      runningPods: async () => [pod],
      configz: () => ({ maxPods: 3 }),
      checkpoint: async (_pod, container, id, seconds) => {
        taken.push([container, id, seconds])
        if (seconds === 9) throw new Error('no criu')
        return '/checkpoints/one.tar'
      },
    },
  )
  const run = '/run/shop/web/main?cmd=echo+a%20b'
  expect(await call(run, { method: 'POST' })).toEqual({ status: 200, body: 'echo|a|b!' })
  expect(await call('/run/shop/web/main?cmd=false', { method: 'POST' })).toEqual({
    status: 500,
    body: "command 'false' exited with 3: false!",
  })
  expect((await call(run)).status).toBe(404)
  expect(JSON.parse((await call('/runningpods/')).body)).toMatchObject({ kind: 'PodList', items: [pod] })
  expect(JSON.parse((await call('/configz')).body)).toEqual({ kubeletconfig: { maxPods: 3 } })
  const checkpoint = '/checkpoint/shop/web/main'
  expect(await call(`${checkpoint}?timeout=5`, { method: 'POST' })).toEqual({
    status: 200,
    body: '{"items":["/checkpoints/one.tar"]}',
  })
  expect(taken).toEqual([['main', 'c1', 5]])
  expect(await call(`${checkpoint}?timeout=9`, { method: 'POST' })).toEqual({
    status: 500,
    body: 'checkpointing of shop/web/main failed (no criu)',
  })
  expect((await call(`${checkpoint}?timeout=x`, { method: 'POST' })).status).toBe(400)
  expect((await call('/checkpoint/shop/web/none', { method: 'POST' })).status).toBe(404)
})

test('shows the files of the log folder and nothing beside it', async () => {
  mkdirSync(join(root, 'nested'))
  writeFileSync(join(root, 'nested', 'a<b&.log'), 'hello\n')
  symlinkSync('/etc/hostname', join(root, 'outside'))
  symlinkSync(join(root, 'nested'), join(root, 'inside'))
  const call = await open()
  expect((await call('/logs/nested/')).body).toContain('<a href="a%3Cb&.log">a&lt;b&amp;.log</a>')
  expect(await call('/logs/inside/a%3Cb&.log')).toEqual({ status: 200, body: 'hello\n' })
  for (const path of ['/logs/outside', '/logs/../etc/hostname', '/logs/%2e%2e/%2e%2e/etc/hostname', '/logs/none']) {
    expect((await call(path)).status).toBe(404)
  }
  expect((await (await open({ systemLogs: '' }))('/logs/')).status).toBe(405)
})

test('asked for services it shows their logs, where that is allowed', async () => {
  writeFileSync(join(root, 'some-service.log'), 'one line\n')
  const call = await open({ systemLogQuery: true })
  expect(await call('/logs/?query=some-service')).toEqual({ status: 200, body: 'one line\n' })
  expect(await call('/logs?query=/some-service.log')).toEqual({ status: 200, body: 'one line\n' })
  expect(await call('/logs/some-service.log')).toEqual({ status: 200, body: 'one line\n' })
  expect(await call('/logs/some-service.log?query=x')).toEqual({ status: 406, body: 'path not allowed in query mode' })
  expect((await call('/logs/?query=a&tailLines=x')).status).toBe(400)
  expect((await (await open())('/logs/?query=some-service')).body).toContain('some-service.log</a>')
})

test('without debugging handlers what leads into containers is refused', async () => {
  const call = await open({ debugging: false })
  const refused = { status: 405, body: 'Debug endpoints are disabled.' }
  expect(await call('/containerLogs/shop/web/main')).toEqual(refused)
  expect(await call('/run/shop/web/main', { method: 'POST' })).toEqual(refused)
  expect((await call('/pods')).status).toBe(200)
})

test('the read-only port shows health, pods and measurements to everybody, and no more', async () => {
  const labels: RequestLabels[] = []
  await using server = await startReadOnlyServer({
    address: '127.0.0.1',
    port: 0,
    containerLogsRoot: root,
    runtimeService: createMemoryRuntime().runtimeService,
    node: {
      pods: () => [pod],
      container: () => ({ containerId: 'c1', logPath: '' }),
      sandbox: () => ({ sandboxId: 's1' }),
      ended: async () => {},
      metrics: async () => 'up 1\n',
    },
    measure: (one) => {
      labels.push(one)
      return () => {}
    },
  })
  const get = async (path: string, method = 'GET') => {
    const answer = await fetch(`http://127.0.0.1:${server.port}${path}`, {
      method,
      headers: { authorization: 'Bearer x' },
    })
    return { status: answer.status, body: await answer.text() }
  }
  expect(await get('/healthz')).toEqual({ status: 200, body: 'ok' })
  expect(JSON.parse((await get('/pods')).body)).toMatchObject({ kind: 'PodList', items: [pod] })
  expect(await get('/metrics')).toEqual({ status: 200, body: 'up 1\n' })
  for (const path of ['/containerLogs/shop/web/main', '/logs/', '/runningpods/', '/exec/shop/web/main']) {
    expect(await get(path), path).toEqual({ status: 405, body: 'Debug endpoints are disabled.' })
  }
  for (const path of ['/configz', '/statusz', '/nothing']) expect((await get(path)).status, path).toBe(404)
  expect((await get('/checkpoint/shop/web/main', 'POST')).status).toBe(404)
  expect(labels[0]).toEqual({ method: 'GET', path: 'healthz', server_type: 'readonly', long_running: 'false' })
})

test('tokens and permissions are asked of the API server, once for a while', async () => {
  const asked: string[] = []
  let nowMs = 0
  const reviews = createReviews({
    client: {
      async raw({ path, body }) {
        const { spec } = JSON.parse(String(body)) as {
          spec: { token?: string; user?: string; resourceAttributes?: { subresource: string } }
        }
        asked.push(
          path.endsWith('tokenreviews')
            ? `token ${spec.token}`
            : `${spec.user} ${spec.resourceAttributes?.subresource}`,
        )
        const known = spec.token === 'good' && { authenticated: true, user: { username: 'scraper', groups: ['g'] } }
        const status = 'token' in spec ? known || {} : { allowed: spec.resourceAttributes?.subresource === 'metrics' }
        return { status: 201, headers: {}, body: { text: async () => JSON.stringify({ status }) } } as never
      },
    },
    nodeName: 'node-1',
    tokenTtlMs: 1000,
    allowedTtlMs: 1000,
    deniedTtlMs: 100,
    clock: { now: () => nowMs },
  })
  const call = await open({ reviews }, { metrics: async () => 'metrics\n' })
  const scrape = async () => call('/metrics', { client: nobody, token: 'good' })
  expect(await scrape()).toEqual({ status: 200, body: 'metrics\n' })
  expect(await scrape()).toEqual({ status: 200, body: 'metrics\n' })
  expect(asked).toEqual(['token good', 'scraper metrics'])
  expect(await call('/pods', { client: nobody, token: 'good' })).toEqual({
    status: 403,
    body: 'Forbidden (user=scraper, verb=get, resource=nodes, subresource(s)=[pods proxy])',
  })
  expect(await call('/pods', { client: nobody, token: 'bad' })).toEqual({ status: 401, body: 'Unauthorized' })
  expect((await call('/pods', { client: nobody })).status).toBe(401)
  expect((await call('/pods', { client: other })).status).toBe(403)
  expect((await call('/pods')).status).toBe(200) // an administrator is not asked about
  expect(asked.slice(2)).toEqual(['scraper pods', 'scraper proxy', 'token bad', 'somebody pods', 'somebody proxy'])
  nowMs = 1500
  await scrape()
  expect(asked.slice(7)).toEqual(['token good', 'scraper metrics'])
})

test('nobody is somebody only where that is allowed; without an authority no certificate counts', async () => {
  const anonymous = await open({ anonymous: true })
  expect((await anonymous('/pods', { client: nobody })).body).toMatch(/^Forbidden \(user=system:anonymous, /)
  const open2 = await open({ clientCa: undefined })
  expect((await open2('/pods')).status).toBe(401)
  const all = await open({ alwaysAllow: true, allowedNames: [] })
  expect((await all('/pods', { client: other })).status).toBe(200)
})

test.each<[string, string, string, string[]]>([
  ['GET', '/stats/summary', 'get', ['stats']],
  ['GET', '/metrics/cadvisor', 'get', ['metrics']],
  ['GET', '/logs/syslog', 'get', ['log']],
  ['POST', '/checkpoint/a/b/c', 'create', ['checkpoint']],
  ['GET', '/pods', 'get', ['pods', 'proxy']],
  ['GET', '/runningpods/', 'get', ['pods', 'proxy']],
  ['GET', '/healthz/ping', 'get', ['healthz', 'proxy']],
  ['GET', '/configz', 'get', ['configz', 'proxy']],
  ['GET', '/statusz', 'get', ['statusz']],
  ['GET', '/flagz', 'get', ['configz']],
  ['GET', '/exec/a/b/c', 'get', ['proxy']],
  ['POST', '/run/a/b/c', 'create', ['proxy']],
  ['HEAD', '/statsx', '', ['proxy']],
])('%s %s needs %s on %j', (method, path, verb, subresources) => {
  expect(neededAccess(method, path)).toEqual({ verb, subresources })
})

test.each<[string, string, object | undefined]>([
  ['GET', '/metrics', { kind: 'metrics', page: 'kubelet' }],
  ['GET', '/metrics/probes', { kind: 'metrics', page: 'probes' }],
  ['GET', '/metrics/other', undefined],
  ['GET', '/statusz', { kind: 'statusz' }],
  ['GET', '/flagz', { kind: 'flagz' }],
  ['POST', '/metrics', undefined],
  ['GET', '/stats/summary', { kind: 'summary' }],
  ['GET', '/logs/', { kind: 'logs', path: '' }],
  ['GET', '/logs/a/b', { kind: 'logs', path: 'a/b' }],
  ['GET', '/debug/pprof', { kind: 'pprof', name: '' }],
  ['GET', '/debug/pprof/heap', { kind: 'pprof', name: 'heap' }],
  ['POST', '/debug/pprof/heap', undefined],
  ['GET', '/debug/other', undefined],
  ['POST', '/run/ns/pod/uid/c', { kind: 'run', namespace: 'ns', pod: 'pod', uid: 'uid', container: 'c' }],
  ['POST', '/checkpoint/ns/pod/c', { kind: 'checkpoint', namespace: 'ns', pod: 'pod', container: 'c' }],
  ['POST', '/checkpoint/ns/pod/uid/c', undefined],
])('%s %s leads to %j', (method, path, route) => expect(routeOf(method, path)).toEqual(route))

test('the status says since when it runs', () => {
  const lines = statusText(3725.5, Date.UTC(2026, 0, 2)).split('\n')
  expect(lines.slice(4, 6)).toEqual(['Started: Thu, 01 Jan 2026 22:57:54 GMT', 'Up: 1 hr 02 min 05 sec'])
})

test('profiles of this process: one at a time, until the client leaves', async () => {
  const call = await open()
  expect((await call('/debug/pprof/')).body).toContain('<a href="profile">')
  expect((await call('/debug/pprof/cmdline')).body.split('\0')).toContain(process.argv[1])
  expect((await call('/debug/pprof/goroutine')).status).toBe(501)
  expect(await call('/debug/pprof/none')).toEqual({ status: 404, body: 'Unknown profile' })
  expect((await call('/debug/pprof/profile?seconds=14401')).status).toBe(400)

  const leaving = new AbortController()
  const gone = call('/debug/pprof/profile?seconds=600', { signal: leaving.signal })
  const busy = { status: 500, body: 'Could not enable CPU profiling: cpu profiling already in use' }
  const again = async () => call('/debug/pprof/profile?seconds=0.02')
  await vi.waitFor(async () => expect(await again()).toEqual(busy), { timeout: 20_000 })
  leaving.abort()
  await expect(gone).rejects.toThrow('aborted')
  await vi.waitFor(async () => expect((await again()).status).toBe(200), { timeout: 20_000 })
  expect((await call('/debug/pprof/heap?seconds=0.02')).status).toBe(200)

  const refused = async (options: Partial<KubeletServerOptions>) => (await open(options))('/debug/pprof/profile')
  expect(await refused({ profiling: false })).toEqual({ status: 405, body: 'profiling endpoint is disabled.' })
  expect(await refused({ debugging: false })).toEqual({ status: 405, body: 'Debug endpoints are disabled.' })
})

test("the log's verbosity is set by a number", async () => {
  const set: number[] = []
  const call = await open({}, { setVerbosity: (verbosity) => void set.push(verbosity) })
  const put = async (body: string, ask = call) => ask('/debug/flags/v', { method: 'PUT', body })
  expect(await put('4')).toEqual({ status: 200, body: 'successfully set klog.logging.verbosity to 4' })
  expect(await put('x')).toEqual({ status: 400, body: 'failed set klog.logging.verbosity "x": is not an integer' })
  expect((await put('1'.repeat(65))).status).toBe(400)
  expect(await call('/debug/flags/v')).toEqual({ status: 406, body: 'unsupported http method' })
  expect(set).toEqual([4])
  expect((await put('4', await open())).status).toBe(501)
  const refused = async (options: Partial<KubeletServerOptions>) => put('4', await open(options))
  expect(await refused({ debugFlags: false })).toEqual({ status: 405, body: 'flags endpoint is disabled.' })
  expect(await refused({ debugging: false })).toEqual({ status: 405, body: 'Debug endpoints are disabled.' })
})

test('what it was started with is shown by name, without passwords', async () => {
  const flags = flagsOf({
    'root-dir': '/var/lib/kubelet',
    clusterDNS: ['10.0.0.1'],
    staticPodURLHeader: { Authorization: ['Bearer x'] },
    logging: { verbosity: 2, format: 'a\nb' },
    tracing: undefined,
    maxPods: 110,
  })
  expect(flagsText(flags).split('\n').slice(4)).toEqual([
    'clusterDNS=["10.0.0.1"]',
    String.raw`logging.format=a\nb`,
    'logging.verbosity=2',
    'maxPods=110',
    'root-dir=/var/lib/kubelet',
    'staticPodURLHeader=<masked>',
    '',
  ])
  const call = await open({}, { flags: () => flags })
  expect(await call('/flagz')).toEqual({ status: 200, body: flagsText(flags) })
})

test('health in the words of Kubernetes', async () => {
  const fine: HealthCheck[] = [{ name: 'ping' }, { name: 'syncloop' }]
  const ill: HealthCheck[] = [{ name: 'ping' }, { name: 'syncloop', problem: 'too slow' }]
  expect(healthAnswer(fine, '/healthz', false)).toEqual({ status: 200, text: 'ok' })
  expect(healthAnswer(fine, '/healthz', true)?.text).toBe('[+]ping ok\n[+]syncloop ok\nhealthz check passed\n')
  expect(healthAnswer(ill, '/healthz', false)).toEqual({
    status: 500,
    text: '[+]ping ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n',
  })
  expect(healthAnswer(ill, '/healthz/syncloop', false)).toEqual({
    status: 500,
    text: 'internal server error: too slow\n',
  })
  expect(healthAnswer(ill, '/healthz/other', false)).toBeUndefined()

  await using server = await startHealthServer({ address: '127.0.0.1', port: 0 }, () => fine)
  const get = async (path: string) => answerOf(plainGet({ host: '127.0.0.1', port: server.port, path, agent: false }))
  expect(await get('/healthz')).toEqual({ status: 200, body: 'ok' })
  expect((await get('/pods')).status).toBe(404)
})
