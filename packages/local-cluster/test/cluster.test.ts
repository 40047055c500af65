// The whole package: a cluster, its clients, and a hand that does what a kubelet does.
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  createKubeClient,
  deployments,
  endpointSlices,
  events,
  isNotFound,
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
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { startCluster } from '../src/cluster.ts'
import type { Cluster } from '../src/cluster.ts'

const namespace = 'default'
let dataDir = ''
let cluster: Cluster
let client: KubeClient

const start = async (port = 0): Promise<void> => {
  cluster = await startCluster({ dataDir, port, nodeName: 'one', nodeIPs: ['127.0.0.1'] })
  client = createKubeClient(await loadKubeconfig(cluster.kubeconfigs.admin))
}
const stop = async (): Promise<void> => {
  await client.close()
  await cluster.close()
}
beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'cluster-'))
  await start()
})
afterAll(async () => {
  await stop()
  await rm(dataDir, { recursive: true, force: true })
})

const eventually = async <T>(check: () => Promise<T>): Promise<T> =>
  vi.waitFor(check, { timeout: 20_000, interval: 20 })
const selected = async (app: string): Promise<Pod[]> =>
  (await client.list(pods, { namespace, labelSelector: `app=${app}` })).items
const setsOf = async (app: string): Promise<ReplicaSet[]> =>
  (await client.list(replicaSets, { namespace, labelSelector: `app=${app}` })).items
const messages = async (reason: string, name: string): Promise<string[]> =>
  (await client.list(events, { namespace })).items
    .filter((one) => one.reason === reason && one.involvedObject?.name?.startsWith(name))
    .map(({ message = '' }) => message)

const deployment = (
  name: string,
  replicas: number,
  more: Partial<NonNullable<Deployment['spec']>> = {},
): Deployment => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace },
  spec: {
    replicas,
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name } },
      spec: {
        terminationGracePeriodSeconds: 5,
        containers: [{ name: 'main', image: 'web:1', ports: [{ name: 'http', containerPort: 8080 }] }],
      },
    },
    ...more,
  },
})

let lastIP = 1
/** What a kubelet reports of a pod that runs. */
const run = async (pod: Pod): Promise<void> => {
  const ip = `10.244.0.${lastIP++}`
  const at = new Date().toISOString().replace(/\.\d+Z$/, 'Z')
  const status = {
    phase: 'Running',
    podIP: ip,
    podIPs: [{ ip }],
    conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: at }],
  }
  await client.patch(pods, { namespace, name: pod.metadata?.name ?? '' }, strategicPatch({ status }), {
    subresource: 'status',
  })
}
/** Pods that terminate are gone, bound ones run. @returns what ends it */
const playKubelet = (app: string): (() => Promise<void>) => {
  const ended = new AbortController()
  const done = (async () => {
    while (!ended.signal.aborted) {
      for (const pod of await selected(app)) {
        const name = pod.metadata?.name ?? ''
        if (pod.metadata?.deletionTimestamp) {
          await client.delete(pods, { namespace, name }, { gracePeriodSeconds: 0 }).catch((error: unknown) => {
            if (!isNotFound(error)) throw error
          })
        } else if (pod.spec?.nodeName && !pod.status?.podIP) await run(pod)
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  })()
  return async () => {
    ended.abort()
    await done
  }
}

test('without a node pods wait and say why; with one they are bound', async () => {
  await client.create(deployments, deployment('web', 2))
  await eventually(async () => {
    const conditions = (await selected('web')).flatMap(({ status }) => status?.conditions ?? [])
    expect(conditions).toHaveLength(2)
    for (const one of conditions) {
      expect(one).toMatchObject({
        type: 'PodScheduled',
        status: 'False',
        reason: 'Unschedulable',
        message: 'no nodes available to schedule pods',
      })
    }
    expect(await messages('FailedScheduling', 'web-')).toContain('no nodes available to schedule pods')
  })
  await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'one' } })
  const status = {
    conditions: [{ type: 'Ready', status: 'True' }],
    allocatable: { cpu: '2', memory: '2Gi', pods: '110' },
    addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
  }
  await client.patch(nodes, { name: 'one' }, mergePatch({ status }), { subresource: 'status' })
  // As the node controller of a real control plane: whatever taint a new node begins with is taken off when it is ready.
  await client.patch(nodes, { name: 'one' }, mergePatch({ spec: { taints: null } }))
  await eventually(async () => {
    const found = await selected('web')
    expect(found.map(({ spec }) => spec?.nodeName)).toEqual(['one', 'one'])
    const [first] = found
    const [set] = await setsOf('web')
    expect(first?.metadata?.name).toMatch(new RegExp(`^${set?.metadata?.name}-[a-z0-9]{5}$`))
    expect(first?.metadata?.ownerReferences).toMatchObject([
      { kind: 'ReplicaSet', uid: set?.metadata?.uid, controller: true },
    ])
    expect(set?.metadata?.ownerReferences).toMatchObject([{ kind: 'Deployment', name: 'web', controller: true }])
    expect(await messages('Scheduled', first?.metadata?.name ?? '')).toEqual([
      `Successfully assigned default/${first?.metadata?.name} to one`,
    ])
    expect(await messages('ScalingReplicaSet', 'web')).toEqual([
      `Scaled up replica set ${set?.metadata?.name} from 0 to 2`,
    ])
    expect((await messages('SuccessfulCreate', 'web-')).toSorted()).toEqual(
      found.map(({ metadata }) => `Created pod: ${metadata?.name}`).toSorted(),
    )
  })
})

test('a Service has the addresses of the pods that run', async () => {
  await client.create(services, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace },
    spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 'http' }] },
  })
  for (const pod of await selected('web')) await run(pod)
  await eventually(async () => {
    const { items } = await client.list(endpointSlices, { namespace, labelSelector: 'kubernetes.io/service-name=web' })
    expect(items).toHaveLength(1)
    expect(items[0]).toMatchObject({
      addressType: 'IPv4',
      metadata: {
        labels: { 'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io' },
        ownerReferences: [{ kind: 'Service', name: 'web', controller: true }],
      },
      ports: [{ port: 8080, protocol: 'TCP' }],
      endpoints: [
        { addresses: ['10.244.0.1'], conditions: { ready: true, serving: true, terminating: false }, nodeName: 'one' },
        { addresses: ['10.244.0.2'], conditions: { ready: true, serving: true, terminating: false } },
      ],
    })
    const { status } = await client.get(deployments, { namespace, name: 'web' })
    expect(status).toMatchObject({ readyReplicas: 2, availableReplicas: 2, updatedReplicas: 2 })
    expect(status?.conditions?.map(({ type, reason }) => `${type} ${reason}`)).toEqual([
      'Available MinimumReplicasAvailable',
      'Progressing NewReplicaSetAvailable',
    ])
  })
})

test('a pod that terminates is told so, and another takes its place', async () => {
  const [victim] = await selected('web')
  const name = victim?.metadata?.name ?? ''
  await client.delete(pods, { namespace, name })
  await eventually(async () => {
    const { items } = await client.list(endpointSlices, { namespace, labelSelector: 'kubernetes.io/service-name=web' })
    expect(items[0]?.endpoints?.find(({ targetRef }) => targetRef?.name === name)?.conditions).toEqual({
      ready: false,
      serving: true,
      terminating: true,
    })
    expect(await selected('web')).toHaveLength(3)
  })
  const end = playKubelet('web')
  await eventually(async () => {
    const { items } = await client.list(endpointSlices, { namespace, labelSelector: 'kubernetes.io/service-name=web' })
    expect(items[0]?.endpoints?.map(({ conditions }) => conditions?.ready)).toEqual([true, true])
  })
  await end()
})

test('a new template rolls out without a gap; going back uses the old set', async () => {
  const end = playKubelet('web')
  let fewest = 2
  const watching = setInterval(() => {
    void selected('web').then((found) => {
      const ready = found.filter((pod) => !pod.metadata?.deletionTimestamp && pod.status?.podIP).length
      fewest = Math.min(fewest, ready)
    })
  }, 10)
  const image = async (name: string): Promise<void> => {
    const patch = strategicPatch({ spec: { template: { spec: { containers: [{ name: 'main', image: name }] } } } })
    await client.patch(deployments, { namespace, name: 'web' }, patch)
  }
  const done = async (revision: string): Promise<void> =>
    eventually(async () => {
      const one = await client.get(deployments, { namespace, name: 'web' })
      expect(one.metadata?.annotations?.['deployment.kubernetes.io/revision']).toBe(revision)
      expect(one.status).toMatchObject({
        observedGeneration: one.metadata?.generation,
        replicas: 2,
        updatedReplicas: 2,
        availableReplicas: 2,
      })
    })
  const [first] = await setsOf('web')
  await image('web:2')
  await done('2')
  await image('web:1')
  await done('3')
  clearInterval(watching)
  await end()
  const sets = await setsOf('web')
  expect(sets).toHaveLength(2)
  expect(sets.find(({ spec }) => spec?.replicas === 2)?.metadata?.uid).toBe(first?.metadata?.uid)
  expect(fewest).toBe(2)
})

test('Recreate begins when the last old pod is gone', async () => {
  await client.create(deployments, deployment('lone', 1, { strategy: { type: 'Recreate' } }))
  const [old] = await eventually(async () => {
    const found = await selected('lone')
    expect(found[0]?.spec?.nodeName).toBe('one')
    return found
  })
  await run(old as Pod)
  const patch = strategicPatch({ spec: { template: { spec: { containers: [{ name: 'main', image: 'web:2' }] } } } })
  await client.patch(deployments, { namespace, name: 'lone' }, patch)
  await eventually(async () => {
    expect((await selected('lone'))[0]?.metadata?.deletionTimestamp).toMatch(/^\d{4}-\d\d-\d\dT/)
    expect(await setsOf('lone')).toHaveLength(2)
  })
  // Long enough for what must not happen.
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect((await selected('lone')).map(({ metadata }) => metadata?.uid)).toEqual([old?.metadata?.uid])
  await client.delete(pods, { namespace, name: old?.metadata?.name ?? '' }, { gracePeriodSeconds: 0 })
  await eventually(async () => {
    const [now] = await selected('lone')
    expect(now?.spec?.containers[0]?.image).toBe('web:2')
  })
})

test('a ReplicaSet takes pods that match and are nobody’s, makes only the rest, and lets go what no longer matches', async () => {
  const labels = { app: 'stray' }
  const made = await client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'stray', namespace, labels },
    spec: { containers: [{ name: 'main', image: 'web:1' }] },
  })
  const set = await client.create(replicaSets, {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: { name: 'keeper', namespace },
    spec: {
      replicas: 2,
      selector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['stray'] }] },
      template: { metadata: { labels }, spec: { containers: [{ name: 'main', image: 'web:1' }] } },
    },
  })
  const owned = async (): Promise<(string | undefined)[]> =>
    (await client.list(pods, { namespace })).items
      .filter(({ metadata }) => metadata?.ownerReferences?.some(({ uid }) => uid === set.metadata?.uid))
      .map(({ metadata }) => metadata?.uid)
  await eventually(async () => {
    expect(await owned()).toHaveLength(2)
    expect(await owned()).toContain(made.metadata?.uid)
    expect((await client.get(replicaSets, { namespace, name: 'keeper' })).status?.replicas).toBe(2)
  })
  expect(await messages('SuccessfulCreate', 'keeper')).toHaveLength(1)
  expect(await messages('SuccessfulDelete', 'keeper')).toEqual([])
  await client.patch(pods, { namespace, name: 'stray' }, mergePatch({ metadata: { labels: { app: 'free' } } }))
  await eventually(async () => {
    expect(await owned()).toHaveLength(2)
    expect(await owned()).not.toContain(made.metadata?.uid)
  })
  await client.delete(replicaSets, { namespace, name: 'keeper' }, { propagationPolicy: 'Background' })
  await client.delete(pods, { namespace, name: 'stray' }, { gracePeriodSeconds: 0 })
})

test('a node that is full takes the next pod when one has ended', async () => {
  const big = (name: string): Pod => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: { containers: [{ name: 'main', image: 'web:1', resources: { requests: { cpu: '1500m' } } }] },
  })
  await client.create(pods, big('big-1'))
  await eventually(async () =>
    expect((await client.get(pods, { namespace, name: 'big-1' })).spec?.nodeName).toBe('one'),
  )
  await client.create(pods, big('big-2'))
  await eventually(async () =>
    expect(await messages('FailedScheduling', 'big-2')).toEqual(['0/1 nodes are available: 1 Insufficient cpu.']),
  )
  await client.patch(pods, { namespace, name: 'big-1' }, mergePatch({ status: { phase: 'Succeeded' } }), {
    subresource: 'status',
  })
  await eventually(async () =>
    expect((await client.get(pods, { namespace, name: 'big-2' })).spec?.nodeName).toBe('one'),
  )
})

test('after a restart all is there, under the same certificates, and nothing is made twice', async () => {
  const before = await selected('web')
  const { port, kubelet } = cluster
  await stop()
  await start(port)
  expect(cluster.kubelet).toEqual(kubelet)
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(await selected('web')).toEqual(before)
  await client.patch(deployments, { namespace, name: 'web' }, mergePatch({ spec: { replicas: 3 } }))
  await eventually(async () => expect(await selected('web')).toHaveLength(3))
})

test('deleting the Deployment takes all with it', async () => {
  const end = playKubelet('web')
  await client.delete(deployments, { namespace, name: 'web' }, { propagationPolicy: 'Background' })
  await eventually(async () => {
    expect(await setsOf('web')).toEqual([])
    expect(await selected('web')).toEqual([])
  })
  await end()
})

test('closing waits for no client, not for one that has only just connected either', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cluster-'))
  const other = await startCluster({ dataDir: folder, port: 0, nodeName: 'one', nodeIPs: ['127.0.0.1'] })
  const idle = connect(other.port, '127.0.0.1')
  await once(idle, 'connect')
  await expect(fetch(`http://127.0.0.1:${other.port}`)).rejects.toThrow() // which is accepted after it
  const ended = once(idle, 'close')
  idle.resume()
  await other.close()
  await ended
  await rm(folder, { recursive: true, force: true })
})

test('a port in use is told with the port and the remedy', async () => {
  const holder = createServer().listen(0, '127.0.0.1')
  await once(holder, 'listening')
  const { port } = holder.address() as AddressInfo
  const folder = await mkdtemp(join(tmpdir(), 'cluster-'))
  await expect(startCluster({ dataDir: folder, port, nodeName: 'one', nodeIPs: ['127.0.0.1'] })).rejects.toThrow(
    new RegExp(`127\\.0\\.0\\.1:${port}.*--api-port`),
  )
  holder.close()
  await rm(folder, { recursive: true, force: true })
})
