// Controllers against the real API server, where others interfere.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  createKubeClient,
  deployments,
  endpointSlices,
  loadKubeconfig,
  mergePatch,
  nodes,
  pods,
  replicaSets,
  services,
  strategicPatch,
} from '@nodelet/kube-client'
import type { KubeClient } from '@nodelet/kube-client'
import type { Deployment, ReplicaSet } from 'kubernetes-types/apps/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { startCluster } from '../src/cluster.ts'
import type { Cluster } from '../src/cluster.ts'

const namespace = 'default'
let dataDir = ''
let cluster: Cluster
let client: KubeClient

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'controllers-'))
  cluster = await startCluster({ dataDir, port: 0, nodeName: 'one', nodeIPs: ['127.0.0.1'] })
  client = createKubeClient(await loadKubeconfig(cluster.kubeconfigs.admin))
})
afterAll(async () => {
  await client.close()
  await cluster.close()
  await rm(dataDir, { recursive: true, force: true })
})

const eventually = async <T>(check: () => Promise<T>): Promise<T> =>
  vi.waitFor(check, { timeout: 20_000, interval: 20 })
const setsOf = async (app: string): Promise<ReplicaSet[]> =>
  (await client.list(replicaSets, { namespace, labelSelector: `app=${app}` })).items
const slicesOf = async (name: string): Promise<EndpointSlice[]> =>
  (await client.list(endpointSlices, { namespace, labelSelector: `kubernetes.io/service-name=${name}` })).items
const deployment = (name: string, replicas: number, annotations: Record<string, string> = {}): Deployment => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace, annotations },
  spec: {
    replicas,
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name } },
      spec: { containers: [{ name: 'main', image: 'web:1' }] },
    },
  },
})

test('a Deployment takes the ReplicaSets that a former one left behind', async () => {
  const first = await client.create(deployments, deployment('heir', 2))
  const [left] = await eventually(async () => {
    const sets = await setsOf('heir')
    expect(sets[0]?.status?.replicas).toBe(2)
    return sets
  })
  await client.delete(deployments, { namespace, name: 'heir' }, { propagationPolicy: 'Orphan' })
  await eventually(async () => expect((await setsOf('heir'))[0]?.metadata?.ownerReferences ?? []).toEqual([]))
  const second = await client.create(deployments, deployment('heir', 3))
  expect(second.metadata?.uid).not.toBe(first.metadata?.uid)
  await eventually(async () => {
    const sets = await setsOf('heir')
    expect(sets.map(({ metadata }) => metadata?.uid)).toEqual([left?.metadata?.uid])
    expect(sets[0]?.metadata?.ownerReferences).toMatchObject([{ uid: second.metadata?.uid, controller: true }])
    expect((await client.get(deployments, { namespace, name: 'heir' })).status?.replicas).toBe(3)
  })
})

test('a ReplicaSet of another with the wanted name is gone around', async () => {
  const { metadata } = await client.create(deployments, deployment('twin', 1))
  const [own] = await eventually(async () => {
    const sets = await setsOf('twin')
    expect(sets).toHaveLength(1)
    return sets
  })
  const name = own?.metadata?.name ?? ''
  await client.delete(deployments, { namespace, name: 'twin' })
  await eventually(async () => expect(await setsOf('twin')).toEqual([]))
  await client.create(replicaSets, {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: { name, namespace, labels: { app: 'stranger' } },
    spec: {
      replicas: 0,
      selector: { matchLabels: { app: 'stranger' } },
      template: { metadata: { labels: { app: 'stranger' } }, spec: { containers: [{ name: 'main', image: 'x' }] } },
    },
  })
  const again = await client.create(deployments, deployment('twin', 1))
  expect(again.metadata?.uid).not.toBe(metadata?.uid)
  await eventually(async () => {
    const [set] = await setsOf('twin')
    expect(set?.metadata?.name).toMatch(/^twin-/)
    expect(set?.metadata?.name).not.toBe(name)
    expect((await client.get(deployments, { namespace, name: 'twin' })).status?.collisionCount).toBe(1)
  })
})

test('sets carry why they were made and how many are wanted', async () => {
  await client.create(deployments, deployment('told', 2, { 'kubernetes.io/change-cause': 'first', mine: 'yes' }))
  const annotations = async (): Promise<Record<string, string>> =>
    (await setsOf('told'))[0]?.metadata?.annotations ?? {}
  await eventually(async () => {
    const found = await annotations()
    expect(found).toMatchObject({
      'kubernetes.io/change-cause': 'first',
      mine: 'yes',
      'deployment.kubernetes.io/revision': '1',
      'deployment.kubernetes.io/desired-replicas': '2',
      'deployment.kubernetes.io/max-replicas': '3',
    })
  })
  await client.patch(
    deployments,
    { namespace, name: 'told' },
    mergePatch({ metadata: { annotations: { 'kubernetes.io/change-cause': 'second' } }, spec: { replicas: 8 } }),
  )
  await eventually(async () =>
    expect(await annotations()).toMatchObject({
      'kubernetes.io/change-cause': 'second',
      'deployment.kubernetes.io/desired-replicas': '8',
      'deployment.kubernetes.io/max-replicas': '10',
    }),
  )
})

test('no deadline is no busy loop', async () => {
  const endless = deployment('endless', 1)
  Object.assign(endless.spec ?? {}, { progressDeadlineSeconds: 2 ** 31 - 1 })
  await client.create(deployments, endless)
  const warnings: Error[] = []
  const note = (warning: Error): void => void warnings.push(warning)
  process.on('warning', note)
  await eventually(async () =>
    expect((await client.get(deployments, { namespace, name: 'endless' })).status?.replicas).toBe(1),
  )
  await new Promise((resolve) => setTimeout(resolve, 100))
  process.off('warning', note)
  expect(warnings).toEqual([])
})

test('a Service’s slices: headless is said, labels follow, zones come late, none is made twice', async () => {
  const zone = 'topology.kubernetes.io/zone'
  await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'far' } })
  const count = 250
  const width = 10
  const makeEvery = async (from: number): Promise<void> => {
    for (let index = from; index < count; index += width) {
      const name = `many-${index}`
      await client.create(pods, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace, labels: { app: 'many' } },
        spec: { nodeName: 'far', containers: [{ name: 'main', image: 'x' }] },
      })
      const ip = `10.1.${index >> 8}.${index & 255}`
      const status = { phase: 'Running', podIP: ip, podIPs: [{ ip }] }
      await client.patch(pods, { namespace, name }, strategicPatch({ status }), { subresource: 'status' })
    }
  }
  // Not all at once: a connection each would be more than a busy machine opens in time.
  await Promise.all(Array.from({ length: width }, async (_, from) => makeEvery(from)))
  const made: string[] = []
  const watching = new AbortController()
  const { metadata } = await client.list(endpointSlices, { namespace })
  const watched = (async () => {
    const events = client.watch(endpointSlices, {
      namespace,
      labelSelector: 'kubernetes.io/service-name=many',
      resourceVersion: metadata.resourceVersion,
      signal: watching.signal,
    })
    for await (const { type, object } of events) if (type === 'ADDED') made.push(object.metadata?.name ?? '')
  })().catch((error: unknown) => {
    if (!watching.signal.aborted) throw error
  })
  await client.create(services, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'many', namespace, labels: { tier: 'a' } },
    spec: { clusterIP: 'None', selector: { app: 'many' }, ports: [{ port: 80 }] },
  })
  await eventually(async () => {
    const found = await slicesOf('many')
    expect(found.map(({ endpoints }) => endpoints.length).toSorted((a, b) => a - b)).toEqual([50, 100, 100])
    for (const slice of found) {
      expect(slice.metadata?.labels).toMatchObject({ tier: 'a', 'service.kubernetes.io/headless': '' })
    }
  })
  await client.patch(nodes, { name: 'far' }, mergePatch({ metadata: { labels: { [zone]: 'z' } } }))
  await client.patch(services, { namespace, name: 'many' }, mergePatch({ metadata: { labels: { tier: 'b' } } }))
  await eventually(async () => {
    for (const slice of await slicesOf('many')) {
      expect(slice.metadata?.labels?.tier).toBe('b')
      expect(new Set(slice.endpoints.map((one) => one.zone))).toEqual(new Set(['z']))
    }
  })
  const settled = await slicesOf('many')
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(await slicesOf('many')).toEqual(settled)
  watching.abort()
  await watched
  expect(made).toHaveLength(3)
})
