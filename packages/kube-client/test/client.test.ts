import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  applyPatch,
  configMaps,
  ConnectionError,
  createKubeClient,
  isAlreadyExists,
  isConflict,
  isNotFound,
  jsonPatch,
  KubeconfigError,
  listAll,
  mergePatch,
  nodes,
  pods,
  StatusError,
  strategicPatch,
} from '../src/index.ts'
import type { KubeClient, KubeConnection, RequestReport } from '../src/index.ts'
import { startApiServer } from './api-server.ts'
import type { ApiServer } from './api-server.ts'
import { makeCertificates } from './certificates.ts'
import type { Certificates } from './certificates.ts'

let certificates: Certificates
let server: ApiServer
let client: KubeClient
let connection: KubeConnection

const failure = async (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => expect.fail('should have failed'),
    (error: unknown) => error,
  )

beforeAll(() => {
  certificates = makeCertificates()
})
beforeEach(async () => {
  server = await startApiServer(certificates)
  connection = {
    server: server.url,
    ca: { file: certificates.file('ca.crt') },
    clientCertificate: { file: certificates.file('client.crt') },
    clientKey: { pem: certificates.pem('client.key') },
  }
  client = createKubeClient(connection)
  return async () => {
    await client.close()
    await server.close()
  }
})
afterAll(() => rmSync(certificates.folder, { recursive: true }))

const configMap = (name: string, k = 'v') => ({ metadata: { name, namespace: 'ns', labels: { x: k } }, data: { k } })

describe('verbs', () => {
  test('create, get, update, patch, delete', async () => {
    const made = await client.create(configMaps, configMap('a'))
    expect(made.metadata?.uid).toMatch(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/)
    expect(await client.get(configMaps, { name: 'a', namespace: 'ns' })).toEqual(made)
    const changed = await client.update(configMaps, { ...made, data: { k: '2' } })
    expect(changed.data).toEqual({ k: '2' })
    const stale = await failure(client.update(configMaps, made))
    expect(isConflict(stale)).toBe(true)
    const again = await failure(client.create(configMaps, configMap('a')))
    expect([isAlreadyExists(again), isConflict(again)]).toEqual([true, false])
    const ref = { name: 'a', namespace: 'ns' }
    const patched = await client.patch(configMaps, ref, mergePatch({ data: { k: null, n: '1' } }))
    expect(patched.data).toEqual({ n: '1' })
    const wrong = await failure(client.delete(configMaps, ref, { preconditions: { uid: 'other' } }))
    expect(isConflict(wrong)).toBe(true)
    expect(await client.delete(configMaps, ref)).toMatchObject({ kind: 'Status', status: 'Success' })
    const gone = await failure(client.get(configMaps, ref))
    expect(isNotFound(gone)).toBe(true)
    expect(gone).toMatchObject({
      reason: 'NotFound',
      code: 404,
      details: { name: 'a', kind: 'configmaps' },
      message: 'GET /api/v1/namespaces/ns/configmaps/a: configmaps "a" not found',
    })
  })

  test('deleteCollection deletes what the selection has', async () => {
    for (const [name, k] of [
      ['a', '1'],
      ['b', '2'],
      ['c', '1'],
    ] as const) {
      await client.create(configMaps, configMap(name, k))
    }
    await client.deleteCollection(configMaps, { namespace: 'ns', labelSelector: 'x=1', fieldSelector: 'a=b' })
    expect(server.seen.at(-1)).toMatchObject({
      method: 'DELETE',
      url: '/api/v1/namespaces/ns/configmaps?labelSelector=x%3D1&fieldSelector=a%3Db',
    })
    expect((await client.list(configMaps)).items.map(({ metadata }) => metadata?.name)).toEqual(['b'])
  })

  test('what goes out', async () => {
    await client.create(nodes, { metadata: { name: 'n' } }, { fieldManager: 'm', dryRun: true })
    await client.patch(nodes, { name: 'n' }, strategicPatch({ status: {} }), { subresource: 'status' })
    const wanted = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' } }
    await client.patch(nodes, { name: 'n' }, applyPatch(wanted), { fieldManager: 'm', force: true })
    const refused = await failure(client.patch(nodes, { name: 'n' }, jsonPatch([{ op: 'remove', path: '/spec' }])))
    expect(refused).toMatchObject({ code: 415 })
    await client.delete(nodes, { name: 'n' }, { gracePeriodSeconds: 0, propagationPolicy: 'Background' })
    expect(server.seen.map(({ method, url, contentType }) => [method, url, contentType])).toEqual([
      ['POST', '/api/v1/nodes?dryRun=All&fieldManager=m', 'application/json'],
      ['PATCH', '/api/v1/nodes/n/status', 'application/strategic-merge-patch+json'],
      ['PATCH', '/api/v1/nodes/n?fieldManager=m&force=true', 'application/apply-patch+yaml'],
      ['PATCH', '/api/v1/nodes/n', 'application/json-patch+json'],
      ['DELETE', '/api/v1/nodes/n', 'application/json'],
    ])
    expect(server.seen.at(-1)?.body).toEqual({
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      gracePeriodSeconds: 0,
      propagationPolicy: 'Background',
    })
    expect(server.seen.every(({ user }) => user === 'system:node:n1')).toBe(true)
  })

  test('a limited client lets a burst through, then one each so often; another of the same server does not wait', async () => {
    const slow = client.limited({ qps: 10, burst: 2 })
    const since = performance.now()
    const done: { who: string; ms: number }[] = []
    const ask = async (who: string, asked: Pick<KubeClient, 'list'>): Promise<void> => {
      await asked.list(configMaps)
      done.push({ who, ms: performance.now() - since })
    }
    await Promise.all([...Array.from({ length: 4 }, async () => ask('slow', slow)), ask('other', client)])
    expect(done.map(({ who }) => who).indexOf('other')).toBeLessThan(3)
    // Timers may be a little early.
    const [, , , third, fourth] = done
    expect([(third?.ms ?? 0) >= 95, (fourth?.ms ?? 0) >= 190]).toEqual([true, true])
    const leaving = new AbortController()
    const watch = slow.watch(configMaps, { resourceVersion: '0', signal: leaving.signal })[Symbol.asyncIterator]()
    const waiting = [watch.next(), slow.list(configMaps, { signal: leaving.signal })].map(failure)
    leaving.abort('left')
    expect(await Promise.all(waiting)).toEqual(['left', 'left'])
    const closed = failure(slow.list(configMaps))
    await client.close()
    expect(await closed).toBeInstanceOf(ConnectionError)
  })

  test.each([
    [0, 1],
    [1, 0],
    [Number.NaN, 1],
  ])('a rate of %d with a burst of %d is refused', (qps, burst) => {
    expect(() => client.limited({ qps, burst })).toThrow(`rate limit: qps ${qps} must be above 0, burst ${burst}`)
  })

  test('each request is told to those who observe, what has no answer too', async () => {
    const told: RequestReport[] = []
    const observing = client.observe((report) => told.push(report))
    await client.create(configMaps, configMap('a'))
    await failure(client.get(configMaps, { name: 'b', namespace: 'ns' }))
    const leaving = new AbortController()
    for await (const { type } of client.watch(configMaps, {
      namespace: 'ns',
      resourceVersion: '0',
      signal: leaving.signal,
    })) {
      expect(type).toBe('ADDED')
      break
    }
    await server.close()
    await failure(client.get(configMaps, { name: 'b', namespace: 'ns' }))
    const { host } = new URL(server.url)
    expect(told.map((report) => [report.method, report.host, report.status])).toEqual([
      ['POST', host, 201],
      ['GET', host, 404],
      ['GET', host, 200],
      ['GET', host, undefined],
    ])
    expect(told.every(({ seconds }) => seconds >= 0 && seconds < 60)).toBe(true)
    observing[Symbol.dispose]()
    await failure(client.get(configMaps, { name: 'b', namespace: 'ns' }))
    expect(told).toHaveLength(4)
  })

  test('pages', async () => {
    for (const n of [1, 2, 3, 4, 5]) await client.create(configMaps, configMap(`c${n}`, n % 2 ? 'odd' : 'even'))
    const page = await client.list(configMaps, { namespace: 'ns', limit: 2 })
    expect(page.items.map(({ kind, metadata }) => [kind, metadata?.name])).toEqual([
      ['ConfigMap', 'c1'],
      ['ConfigMap', 'c2'],
    ])
    const next = await client.list(configMaps, { namespace: 'ns', limit: 2, continue: page.metadata.continue })
    expect(next.items.map(({ metadata }) => metadata?.name)).toEqual(['c3', 'c4'])
    const all = await listAll(client, configMaps, { limit: 2 })
    expect(all.items.map(({ metadata }) => metadata?.name)).toEqual(['c1', 'c2', 'c3', 'c4', 'c5'])
    expect(all.metadata).toEqual({ resourceVersion: '105' })
    const odd = await client.list(configMaps, { labelSelector: 'x in (odd)' })
    expect(odd.items).toHaveLength(3)
  })

  test('pages that expire midway are listed again whole', async () => {
    for (const n of [1, 2, 3]) await client.create(configMaps, configMap(`c${n}`))
    let calls = 0
    const list: KubeClient['list'] = async (resource, options) => {
      if (++calls === 2) {
        await client.create(configMaps, configMap('c4'))
        server.compact()
      }
      return client.list(resource, options)
    }
    const all = await listAll({ list }, configMaps, { limit: 2 })
    expect(all.items).toHaveLength(4)
    expect(calls).toBe(3)
  })

  test('raw, text errors, and wrong use', async () => {
    expect(await (await client.raw({ path: '/healthz' })).body.text()).toBe('ok')
    const error = await failure(client.raw({ path: '/nothing' }))
    expect(error).toBeInstanceOf(StatusError)
    expect(error).toMatchObject({ code: 404, message: 'GET /nothing: HTTP status 404: 404 page not found' })
    expect(await failure(client.get(pods, { name: 'a' }))).toMatchObject({
      message: expect.stringMatching(/needs a namespace/),
    })
    expect(await failure(client.get(nodes, { name: 'a', namespace: 'b' }))).toMatchObject({
      message: expect.stringMatching(/no namespace/),
    })
    expect(await failure(client.get(nodes, { name: '..' }))).toBeInstanceOf(TypeError)
  })

  test('abort and close', async () => {
    const reason = new Error('enough')
    expect(await failure(client.list(pods, { signal: AbortSignal.abort(reason) }))).toBe(reason)
    await client.close()
    expect(await failure(client.list(pods))).toBeInstanceOf(ConnectionError)
  })
})

describe('who is trusted', () => {
  const ask = async (other: KubeConnection): Promise<unknown> => {
    await using another = createKubeClient(other)
    return await another.list(nodes)
  }

  test('a server without our CA is refused, unless told otherwise', async () => {
    const { ca: _ca, ...bare } = connection
    expect(await failure(ask(bare))).toBeInstanceOf(ConnectionError)
    expect(await ask({ ...bare, insecureSkipTlsVerify: true })).toMatchObject({ items: [] })
  })

  test('nobody listens, no file', async () => {
    const dead = await failure(ask({ ...connection, server: 'https://127.0.0.1:1' }))
    expect(dead).toMatchObject({
      name: 'ConnectionError',
      message: expect.stringMatching(/GET \/api\/v1\/nodes at https:\/\/127.0.0.1:1: .*REFUSED/),
    })
    const lost = await failure(ask({ ...connection, ca: { file: '/nonexistent/ca' } }))
    expect(lost).toMatchObject({
      name: 'KubeconfigError',
      message: expect.stringMatching(/certificate authority \/nonexistent\/ca/),
    })
  })

  test('a token file is read again after 401', async () => {
    const tokenFile = join(certificates.folder, 'token')
    writeFileSync(tokenFile, 'one\n')
    server.tokens.add('one')
    const { clientCertificate: _c, clientKey: _k, ...anonymous } = connection
    await using other = createKubeClient({ ...anonymous, tokenFile })
    await other.list(nodes)
    server.tokens.clear()
    server.tokens.add('two')
    writeFileSync(tokenFile, 'two\n')
    await other.list(nodes)
    expect(server.seen.map(({ user }) => user)).toEqual(['one', 'one', 'two'])
    expect(await failure(ask({ ...anonymous, token: 'wrong' }))).toMatchObject({ code: 401, reason: 'Unauthorized' })
  })

  test('an exec plugin runs once, again after 401, and may give a certificate', async () => {
    const count = join(certificates.folder, 'count')
    const script = `echo "$PREFIX" >> ${count}; n=$(wc -l < ${count}); printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t%s"}}' $n`
    const exec = {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: 'sh',
      args: ['-c', script],
      env: { PREFIX: 'p' },
    }
    const { clientCertificate: _c, clientKey: _k, ...anonymous } = connection
    server.tokens.add('t1')
    await using other = createKubeClient({ ...anonymous, exec })
    await Promise.all([other.list(nodes), other.list(nodes), other.list(nodes)])
    expect(server.seen.map(({ user }) => user)).toEqual(['t1', 't1', 't1'])
    server.tokens.clear()
    server.tokens.add('t2')
    await other.list(nodes)
    expect(server.seen.slice(3).map(({ user }) => user)).toEqual(['t1', 't2'])

    const status = {
      clientCertificateData: certificates.pem('client.crt'),
      clientKeyData: certificates.pem('client.key'),
    }
    const answer = join(certificates.folder, 'answer.json')
    writeFileSync(answer, JSON.stringify({ apiVersion: exec.apiVersion, kind: 'ExecCredential', status }))
    await ask({ ...anonymous, exec: { ...exec, command: 'cat', args: [answer] } })
    expect(server.seen.at(-1)?.user).toBe('system:node:n1')
  })

  test('exec plugins that fail say why', async () => {
    const plugin = { apiVersion: 'client.authentication.k8s.io/v1', env: {}, installHint: 'apt install it' }
    const trial = async (command: string, args: string[]): Promise<unknown> =>
      failure(ask({ server: server.url, exec: { ...plugin, command, args } }))
    expect(await trial('no-such-plugin', [])).toMatchObject({
      message: expect.stringMatching(/no-such-plugin.*ENOENT\napt install it/s),
    })
    expect(await trial('sh', ['-c', 'echo sorry >&2; exit 1'])).toMatchObject({ message: 'exec plugin sh: sorry' })
    expect(await trial('echo', ['secret'])).toMatchObject({
      message: expect.stringMatching(/standard output is not JSON$/),
    })
    expect(await trial('echo', ['{"apiVersion":"v9","kind":"ExecCredential","status":{"token":"t"}}'])).toMatchObject({
      message: expect.stringMatching(/answers v9/),
    })
    expect(await trial('echo', ['{"apiVersion":"v9","kind":"ExecCredential","status":{}}'])).toBeInstanceOf(
      KubeconfigError,
    )
  })
})
