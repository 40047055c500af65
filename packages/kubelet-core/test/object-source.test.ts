// How ConfigMaps and Secrets are read, by each strategy.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { clusterTrustBundles, ConnectionError, configMaps, type KubeObject, pathOf } from '@nodelet/kube-client'
import type { ConfigMap, Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, it, test, vi } from 'vitest'
import type { Clock } from '../src/clock.ts'
import { ttlOf } from '../src/object-reader/cached.ts'
import { type ApiObjectSource, createApiObjects } from '../src/object-source.ts'
import { createMemoryApi, type MemoryApi } from './memory-api.ts'
import { createVolumeManager } from '../src/volume/manager.ts'
import { until } from './until.ts'
import { podWith } from './volume-world.ts'

interface World {
  api: MemoryApi
  objects: ApiObjectSource
  clock: Clock & { ms: number }
  put(data: string): void
  read(): Promise<string | undefined>
  /** How many requests for a single object there were. */
  asked: number
  isAway: boolean
}

const path = pathOf(configMaps, { namespace: 'n', name: 'c' })

function newWorld(strategy: 'Watch' | 'Cache' | 'Get'): World {
  const api = createMemoryApi()
  const clock = { ms: 0, now: (): number => clock.ms, after: () => () => {} }
  const get = async (...args: Parameters<typeof api.client.get>): Promise<unknown> => {
    world.asked++
    if (world.isAway) throw new ConnectionError('away')
    return api.client.get(...args)
  }
  const client = { ...api.client, get } as typeof api.client
  const objects = createApiObjects({ client, strategy, ttlMs: () => 60_000, syncMs: 1000, clock })
  const world: World = {
    api,
    objects,
    clock,
    put: (key) => api.put(path, { metadata: { name: 'c', namespace: 'n' }, data: { key } } as ConfigMap),
    read: async () => (await objects.configMap('n', 'c'))?.data?.['key'],
    asked: 0,
    isAway: false,
  }
  return world
}

it('Watch: a change is told, and is there without asking', async () => {
  const world = newWorld('Watch')
  const told: string[] = []
  world.objects.onChange((kind, namespace, name) => told.push(`${kind} ${namespace}/${name}`))
  expect(await world.read()).toBe(undefined)
  world.put('a')
  await until(() => told.length === 1)
  expect([await world.read(), world.asked, told, world.objects.rereadMs]).toEqual([
    'a',
    0,
    ['ConfigMap n/c'],
    undefined,
  ])
  await world.objects.close()
})

it('Watch: what is immutable is read once and not followed', async () => {
  const world = newWorld('Watch')
  const told: string[] = []
  world.objects.onChange((_kind, _namespace, name) => told.push(name))
  world.api.put(path, { metadata: { name: 'c', namespace: 'n' }, data: { key: 'a' }, immutable: true } as ConfigMap)
  expect(await world.read()).toBe('a')
  world.put('b')
  // By then it would have been told, too.
  await world.objects.configMap('n', 'other')
  world.api.put(path.replace(/c$/, 'other'), { metadata: { name: 'other', namespace: 'n' } })
  await until(() => told.length > 0)
  expect([await world.read(), told]).toEqual(['a', ['other']])
  // It may be another one of that name by the time a pod comes.
  world.objects.outdate?.({ metadata: { namespace: 'n' }, spec: { containers: [], volumes: [{ name: 'x' }] } })
  expect(await world.read()).toBe('a')
  const volumes = [{ name: 'v', configMap: { name: 'c' } }]
  world.objects.outdate?.({ metadata: { namespace: 'n' }, spec: { containers: [], volumes } })
  expect(await world.read()).toBe('b')
  await world.objects.close()
})

it('Get: asks each time, and has no answer without a server', async () => {
  const world = newWorld('Get')
  expect(await world.read()).toBe(undefined)
  world.put('a')
  expect([await world.read(), await world.read(), world.asked]).toEqual(['a', 'a', 3])
  expect(world.objects.rereadMs).toBe(1000)
  world.isAway = true
  await expect(world.read()).rejects.toThrow('away')
})

it('Cache: asks once a minute, for what is missing each time, and keeps what it has when nobody answers', async () => {
  const world = newWorld('Cache')
  expect([await world.read(), await world.read(), world.asked]).toEqual([undefined, undefined, 2])
  world.put('a')
  expect(await world.read()).toBe('a')
  world.put('b')
  world.clock.ms = 59_999
  expect([await world.read(), world.asked]).toEqual(['a', 3])
  world.clock.ms = 60_000
  world.isAway = true
  expect([await world.read(), world.asked]).toEqual(['a', 4])
  world.isAway = false
  expect([await world.read(), world.asked]).toEqual(['b', 5])
  expect(world.objects.rereadMs).toBe(1000)
})

test.each([
  [{ namespace: 'n' }, 'b'],
  [{ namespace: 'other' }, 'a'],
])('Cache: a new pod in %j sees %s, as the object may have been made for it', async (metadata, seen) => {
  const world = newWorld('Cache')
  world.put('a')
  await world.read()
  world.put('b')
  const pod: Pod = { metadata, spec: { containers: [], volumes: [{ name: 'v', configMap: { name: 'c' } }] } }
  world.objects.outdate?.(pod)
  expect(await world.read()).toBe(seen)
})

test.each([
  [undefined, 60_000],
  ['300', 300_000],
  ['0', 0],
  ['soon', 60_000],
])('the annotation %s makes %d ms', (ttl, ms) => {
  expect(ttlOf({ metadata: { annotations: ttl ? { 'node.alpha.kubernetes.io/ttl': ttl } : {} } })).toBe(ms)
})

it('trust anchors of a signer are in a volume, and follow the bundles of the cluster', async () => {
  const world = newWorld('Watch')
  const rootDir = mkdtempSync(join(tmpdir(), 'nodelet-anchors-'))
  const objects = createApiObjects({ client: world.api.client, readsTrustBundles: true })
  const manager = createVolumeManager({ rootDir, nodeName: 'node', objects })
  const put = (name: string, ...certificates: string[]): void => {
    const spec = { signerName: 'example.com/mtls', trustBundle: certificates.map(pem).join('\n') }
    world.api.put(pathOf(clusterTrustBundles, { name }), {
      metadata: { name, labels: { of: 'me' } },
      spec,
    } as KubeObject)
  }
  const pem = (text: string): string => {
    const body = Buffer.from(text).toString('base64')
    return `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`
  }
  try {
    const clusterTrustBundle = {
      signerName: 'example.com/mtls',
      labelSelector: { matchLabels: { of: 'me' } },
      path: 'ca.pem',
    }
    const pod = podWith([{ name: 'v', projected: { sources: [{ clusterTrustBundle }] } }])
    await expect(manager.mount(pod)).rejects.toThrow(
      'MountVolume.SetUp failed for volume "v" : combination of signerName and labelSelector matched zero ClusterTrustBundles',
    )
    put('one', 'b', 'a')
    const shown = (paths: ReadonlyMap<string, string>): string =>
      readFileSync(join(paths.get('v') ?? '', 'ca.pem'), 'utf8')
    const paths = await vi.waitFor(async () => manager.mount(pod), { timeout: 20_000 })
    expect(shown(paths)).toBe(pem('a') + pem('b'))
    put('two', 'c', 'a')
    await expect.poll(() => shown(paths)).toBe(pem('a') + pem('b') + pem('c'))
    await world.api.client.delete(clusterTrustBundles, { name: 'one' })
    await expect.poll(() => shown(paths)).toBe(pem('a') + pem('c'))
  } finally {
    await manager.unmount('uid-1')
    await manager.close()
    await Promise.all([objects.close(), world.objects.close()])
    rmSync(rootDir, { recursive: true, force: true })
  }
})

it('Watch: what a volume shows is followed for as long, though nobody reads it', async () => {
  const world = newWorld('Watch')
  const rootDir = mkdtempSync(join(tmpdir(), 'nodelet-shown-'))
  const manager = createVolumeManager({ rootDir, nodeName: 'node', objects: world.objects })
  try {
    world.put('old')
    const paths = await manager.mount(podWith([{ name: 'v', configMap: { name: 'c' } }]))
    world.clock.ms += 400_000
    await world.objects.configMap('n', 'another')
    world.put('new')
    await expect.poll(() => readFileSync(join(paths.get('v') ?? '', 'key'), 'utf8')).toBe('new')
    await manager.unmount('uid-1')
    const told: string[] = []
    world.objects.onChange((_kind, _namespace, name) => told.push(name))
    world.clock.ms += 400_000
    await world.objects.configMap('n', 'yet-another')
    world.put('newer')
    world.api.put(path.replace(/c$/, 'yet-another'), { metadata: { name: 'yet-another', namespace: 'n' } })
    await until(() => told.length > 0)
    expect(told).toEqual(['yet-another'])
  } finally {
    await manager.close()
    await world.objects.close()
    rmSync(rootDir, { recursive: true, force: true })
  }
})
