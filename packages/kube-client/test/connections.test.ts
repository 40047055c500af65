import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { rmSync, writeFileSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { configMaps, createKubeClient } from '../src/index.ts'
import type { KubeClient, KubeConnection } from '../src/index.ts'
import { openConnections } from '../src/connections.ts'
import { startApiServer } from './api-server.ts'
import type { ApiServer, ApiServerOptions } from './api-server.ts'
import { makeCertificates } from './certificates.ts'
import type { Certificates } from './certificates.ts'
import { eventually } from './eventually.ts'

let certificates: Certificates
let opened = new AsyncDisposableStack()
beforeAll(() => {
  certificates = makeCertificates()
})
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})
afterAll(() => rmSync(certificates.folder, { recursive: true }))

const namespace = 'ns'
const backoff = { initialMs: 5, maxMs: 20 }
const path = (name: string): string => `/api/v1/namespaces/ns/configmaps/${name}`

const start = async (
  options: ApiServerOptions = {},
  more: Partial<KubeConnection> = {},
): Promise<{ server: ApiServer; client: KubeClient }> => {
  const server = await startApiServer(certificates, options)
  opened.defer(async () => server.close())
  const client = createKubeClient({
    server: server.url,
    ca: { pem: certificates.pem('ca.crt') },
    clientCertificate: { pem: certificates.pem('client.crt') },
    clientKey: { pem: certificates.pem('client.key') },
    ...more,
  })
  opened.use(client)
  return { server, client }
}

/** Opens so many watches and waits until the server has them. */
const watchMany = async ({ server, client }: { server: ApiServer; client: KubeClient }, count: number) => {
  const all = Array.from({ length: count }, () => {
    const seen: string[] = []
    const failures: unknown[] = []
    const leaving = new AbortController()
    const run = async (): Promise<void> => {
      const { signal } = leaving
      const onRetry = (error: unknown): void => void failures.push(error)
      for await (const { type, object } of client.watch(configMaps, {
        namespace,
        resourceVersion: '100',
        backoff,
        signal,
        onRetry,
      }))
        seen.push(`${type} ${object.metadata?.name}`)
    }
    const ended = run().catch(() => undefined)
    return { seen, failures, leaving, ended }
  })
  opened.defer(async () => {
    for (const { leaving } of all) leaving.abort()
    await Promise.all(all.map(async ({ ended }) => ended))
  })
  await eventually(`${count} watches`, () => server.watchers() === count)
  return all
}

describe('HTTP/2', () => {
  test('all share a connection', async () => {
    const world = await start()
    const watches = await watchMany(world, 100)
    world.server.put(path('a'), { metadata: { name: 'a', namespace } })
    expect((await world.client.list(configMaps)).items).toHaveLength(1)
    await eventually('told', () => watches.every(({ seen }) => seen.length === 1))
    expect(world.server.connections()).toBe(1)
  })

  test('more than the server allows in one connection take others', async () => {
    const world = await start({ mostStreams: 20 })
    await watchMany(world, 50)
    expect((await world.client.list(configMaps)).items).toEqual([])
    expect(world.server.connections()).toBeGreaterThanOrEqual(3)
    expect(world.server.connections()).toBeLessThanOrEqual(4)
  })

  test('the end of some disturbs no others', async () => {
    const world = await start()
    const watches = await watchMany(world, 20)
    const [leave, stay] = [watches.slice(0, 10), watches.slice(10)]
    const failing = world.client
      .get(configMaps, { name: 'none', namespace })
      .catch(({ code }: { code: number }) => code)
    for (const { leaving } of leave) leaving.abort()
    expect(await failing).toBe(404)
    await Promise.all(leave.map(async ({ ended }) => ended))
    await eventually('they are gone', () => world.server.watchers() === 10)
    world.server.put(path('a'), { metadata: { name: 'a', namespace } })
    await eventually('told', () => stay.every(({ seen }) => seen.length === 1))
    expect(leave.flatMap(({ seen }) => seen)).toEqual([])
    expect(stay.flatMap(({ failures }) => failures)).toEqual([])
    expect(world.server.connections()).toBe(1)
  })

  test('a watch that nobody reads holds nobody back', async () => {
    const world = await start()
    const unread = await world.client.raw({
      path: '/api/v1/configmaps',
      query: { watch: true, resourceVersion: '100' },
    })
    world.server.writeToWatches('x'.repeat(4_000_000))
    const [other] = await watchMany(
      { ...world, server: { ...world.server, watchers: () => world.server.watchers() - 1 } },
      1,
    )
    world.server.put(path('a'), { metadata: { name: 'a', namespace } })
    await eventually('told', () => other?.seen.length === 1)
    expect((await world.client.list(configMaps)).items).toHaveLength(1)
    expect(world.server.connections()).toBe(1)
    let length = 0
    for await (const chunk of unread.body) {
      length += chunk.length
      if (length >= 4_000_000) break
    }
    expect(length).toBeGreaterThanOrEqual(4_000_000)
  })

  test('a server that goes away ends what runs in its time; the next request goes elsewhere', async () => {
    const world = await start()
    const [watch] = await watchMany(world, 1)
    world.server.goAway()
    await eventually('elsewhere', () => {
      world.client.list(configMaps).catch(() => undefined)
      return world.server.connections() === 2
    })
    world.server.put(path('a'), { metadata: { name: 'a', namespace } })
    await eventually('told', () => watch?.seen.length === 1)
    world.server.put(path('b'), { metadata: { name: 'b', namespace } })
    await eventually('told on', () => watch?.seen.length === 2)
    expect(watch?.seen).toEqual(['ADDED a', 'ADDED b'])
  })

  test('a new certificate makes new connections; what runs stays on the old ones', async () => {
    const file = (name: string, content: string): { file: string } => {
      const at = `${certificates.folder}/rotated-${name}`
      writeFileSync(at, content)
      return { file: at }
    }
    // The clock that the client reads.
    vi.useFakeTimers({ toFake: ['Date'] })
    opened.defer(() => void vi.useRealTimers())
    const clientCertificate = file('crt', certificates.pem('client.crt'))
    const world = await start({}, { clientCertificate, clientKey: file('key', certificates.pem('client.key')) })
    const [watch] = await watchMany(world, 1)
    const other = makeCertificates()
    opened.defer(() => rmSync(other.folder, { recursive: true }))
    // Of another authority: nobody that this server knows.
    file('crt', other.pem('client.crt'))
    file('key', other.pem('client.key'))
    vi.setSystemTime(Date.now() + 61_000)
    await expect(world.client.list(configMaps)).rejects.toMatchObject({ code: 401 })
    world.server.put(path('a'), { metadata: { name: 'a', namespace } })
    await eventually('told', () => watch?.seen.length === 1)
    expect(watch?.failures).toEqual([])
    expect(world.server.connections()).toBe(2)
  })

  test('a connection that has gone silent is given up, and only such a one', async () => {
    const { server } = await start()
    let isSilent = false
    const relay = createServer((near) => {
      const far = connect(Number(new URL(server.url).port), '127.0.0.1')
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const)
        from
          .on('data', (data) => void (isSilent || to.write(data)))
          .on('close', () => to.destroy())
          .on('error', () => to.destroy())
    })
    await new Promise<void>((done) => relay.listen(0, '127.0.0.1', done))
    opened.defer(() => void relay.close())
    const pool = openConnections(`https://127.0.0.1:${(relay.address() as AddressInfo).port}`, {
      ca: certificates.pem('ca.crt'),
      cert: certificates.pem('client.crt'),
      key: certificates.pem('client.key'),
      rejectUnauthorized: true,
      pingMs: 100,
    })
    opened.defer(async () => pool.destroy())
    const { body } = await pool.request({ method: 'GET', path: '/api/v1/configmaps?watch=true' })
    const ended = (async () => {
      for await (const chunk of body) expect.fail(`${chunk}`)
    })()
    ended.catch(() => undefined)
    // Nothing but answers to pings for longer than it waits for them.
    await eventually('pings', () => server.pings() >= 5)
    expect(server.watchers()).toBe(1)
    isSilent = true
    await expect(ended).rejects.toThrow('the server has answered no ping for 0.3 s')
    isSilent = false
    const { statusCode } = await pool.request({ method: 'GET', path: '/healthz' })
    expect([statusCode, server.connections()]).toEqual([200, 2])
  })
})

describe('HTTP/1.1 alone', () => {
  test('each watch has a connection, goes on after a cut, and ends with its signal', async () => {
    const world = await start({ http2: false })
    const made = await world.client.create(configMaps, { metadata: { name: 'a', namespace } })
    const watches = await watchMany(world, 5)
    expect(world.server.connections()).toBeGreaterThanOrEqual(5)
    await eventually('told', () => watches.every(({ seen }) => seen.length === 1))
    world.server.cutWatches()
    await world.client.update(configMaps, { ...made, data: { k: 'v' } })
    await eventually('told on', () => watches.every(({ seen }) => seen.length === 2))
    expect(watches.map(({ seen }) => seen[1])).toEqual(watches.map(() => 'MODIFIED a'))
    for (const { leaving } of watches) leaving.abort()
    await eventually('they are gone', () => world.server.watchers() === 0)
    await expect(world.client.get(configMaps, { name: 'none', namespace })).rejects.toMatchObject({ code: 404 })
  })
})
