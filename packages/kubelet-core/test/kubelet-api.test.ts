// The order of things for pods of the API.
import type { Event, Node, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Lease } from 'kubernetes-types/coordination/v1.d.ts'
import { expect, it } from 'vitest'
import type { Logind } from '../src/shutdown/logind.ts'
import { make, memory, open, put, useFixture } from './fixture.ts'
import { until } from './until.ts'
import { createMemoryApi, type MemoryApi } from './memory-api.ts'

const path = (name: string): string => `/api/v1/namespaces/default/pods/${name}`
const podIn = (api: MemoryApi, name: string): Pod | undefined => api.get(path(name)) as Pod | undefined

function create(api: MemoryApi, name: string, spec: object): void {
  const status = { phase: 'Pending', conditions: [{ type: 'example.com/gate', status: 'True' }] }
  const metadata = { name, namespace: 'default', generation: 1 }
  const full = { nodeName: 'node-1', terminationGracePeriodSeconds: 2, restartPolicy: 'Always', ...spec }
  api.put(path(name), { apiVersion: 'v1', kind: 'Pod', metadata, spec: full, status } as Pod)
}

const isReady = (pod: Pod | undefined): boolean =>
  pod?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false
const oneContainer = {
  containers: [{ name: 'main', image: 'registry.example/web:1', imagePullPolicy: 'IfNotPresent' }],
}

useFixture()

it('registers the node, renews its lease, says that it is ready', async () => {
  const api = createMemoryApi()
  await open({ client: api.client, nodeLabels: { 'example.com/rack': 'r1' } })
  const node = api.get('/api/v1/nodes/node-1') as Node
  expect(node.metadata?.labels).toMatchObject({ 'kubernetes.io/hostname': 'node-1', 'example.com/rack': 'r1' })
  expect(node.status?.conditions?.map(({ type, status, reason }) => [type, status, reason])).toEqual([
    ['MemoryPressure', 'False', 'KubeletHasSufficientMemory'],
    ['DiskPressure', 'False', 'KubeletHasNoDiskPressure'],
    ['PIDPressure', 'False', 'KubeletHasSufficientPID'],
    ['Ready', 'True', 'KubeletReady'],
  ])
  expect(node.status).toHaveProperty('declaredFeatures.length', 3)
  const lease = await until(
    () => api.get('/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1') as Lease,
  )
  expect(lease.spec).toMatchObject({ holderIdentity: 'node-1', leaseDurationSeconds: 40 })
})

it('nothing is asked of the API before the start: a kubelet that cannot be made leaves nothing behind', async () => {
  const api = createMemoryApi()
  const kubelet = await make({ client: api.client })
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect([...api.limited]).toEqual([])
  await kubelet.start()
  expect([...api.limited]).toContain('list nodes')
})

it.each([true, false])(
  'the node is known with its own way to attach volumes: by a controller %s',
  async (isManaged) => {
    const annotation = 'volumes.kubernetes.io/controller-managed-attach-detach'
    const there = isManaged ? {} : { [annotation]: 'true', mine: 'yes' }
    const api = createMemoryApi()
    api.put('/api/v1/nodes/node-1', { metadata: { name: 'node-1', annotations: there } } as Node)
    await open({ client: api.client, configuration: { enableControllerAttachDetach: isManaged } })
    const known = api.get('/api/v1/nodes/node-1')?.metadata?.annotations
    expect(known).toEqual(isManaged ? { [annotation]: 'true' } : { mine: 'yes' })
    const other = createMemoryApi()
    await open({ client: other.client, configuration: { enableControllerAttachDetach: isManaged } })
    const made = other.get('/api/v1/nodes/node-1')?.metadata?.annotations
    expect(made).toEqual(isManaged ? { [annotation]: 'true' } : {})
  },
)

it('all requests keep to the rate of the configuration, but events and what says that the node lives', async () => {
  const api = createMemoryApi()
  await open({ client: api.client, configuration: { kubeAPIQPS: 7, kubeAPIBurst: 0 } })
  create(api, 'web', oneContainer)
  await until(() => isReady(podIn(api, 'web')))
  await until(() => api.seen.some(({ verb, path }) => verb === 'create' && path.includes('/events/')))
  expect(api.limits).toEqual([{ qps: 7, burst: 10 }])
  expect(api.limited).toContain('patch pods')
  expect(api.limited).toContain('list services')
  const free = ['create events', 'create leases', 'create nodes', 'patch nodes']
  expect([...api.limited].filter((one) => free.includes(one))).toEqual([])
})

it('runs a pod, tells its status and its events, and keeps what others say', async () => {
  const api = createMemoryApi()
  await open({ client: api.client })
  create(api, 'web', oneContainer)
  await until(() => isReady(podIn(api, 'web')))
  const { status } = podIn(api, 'web') ?? {}
  expect(status).toMatchObject({ phase: 'Running', podIP: '10.1.2.3', observedGeneration: 1 })
  expect(status?.conditions?.map(({ type, status }) => `${type}=${status}`).toSorted()).toEqual([
    'ContainersReady=True',
    'Initialized=True',
    'PodReadyToStartContainers=True',
    'PodScheduled=True',
    'Ready=True',
    'example.com/gate=True',
  ])
  const eventsOf = () =>
    api.seen
      .filter(({ verb, path }) => verb === 'create' && path.includes('/events/'))
      .map(({ body }) => body as Event)
      .filter(({ involvedObject }) => involvedObject.kind === 'Pod')
  await until(() => eventsOf().some(({ reason }) => reason === 'Started'))
  expect(eventsOf().map(({ reason, involvedObject }) => [reason, involvedObject.fieldPath])).toEqual([
    ['Pulling', 'spec.containers{main}'],
    ['Pulled', 'spec.containers{main}'],
    ['Created', 'spec.containers{main}'],
    ['Started', 'spec.containers{main}'],
  ])
  expect(eventsOf()[1]?.message).toMatch(
    /^Successfully pulled image "registry.example\/web:1" in \d+m?s \(.* including waiting\)\. Image size: \d+ bytes\.$/,
  )
})

it('a deleted pod: containers end, the terminal status is told, then it is removed for good', async () => {
  const api = createMemoryApi()
  const kubelet = await open({ client: api.client })
  create(api, 'web', oneContainer)
  await until(() => isReady(podIn(api, 'web')))
  api.remove(path('web'), 2)
  await until(() => !podIn(api, 'web'))
  const about = api.seen.filter((one) => one.path === path('web'))
  expect(about.at(-1)).toMatchObject({ verb: 'delete', body: { gracePeriodSeconds: 0 } })
  expect(about.at(-2)).toMatchObject({ verb: 'patch' })
  const told = about.findLast(({ verb, body }) => verb === 'patch' && (body as Pod).status?.phase !== undefined)
  expect(told?.body).toMatchObject({ status: { phase: 'Failed' } })
  await until(() => kubelet.pods().length === 0)
  expect((await memory.runtimeService.listPodSandbox({})).items).toEqual([])
})

it('a missing ConfigMap holds the container until it comes', async () => {
  const api = createMemoryApi()
  await open({ client: api.client })
  const env = [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'settings', key: 'a' } } }]
  create(api, 'web', { containers: [{ ...oneContainer.containers[0], env }] })
  const waiting = () => podIn(api, 'web')?.status?.containerStatuses?.[0]?.state?.waiting
  await until(() => waiting()?.reason === 'CreateContainerConfigError')
  expect(waiting()?.message).toBe('configmap "settings" not found')
  api.put('/api/v1/namespaces/default/configmaps/settings', {
    metadata: { name: 'settings', namespace: 'default' },
    data: { a: '1' },
  } as never)
  await until(() => isReady(podIn(api, 'web')))
})

it('a static pod has a mirror that carries its status and comes back', async () => {
  const api = createMemoryApi()
  await open({ client: api.client })
  await put('web', { containers: [{ name: 'main', image: 'registry.example/web:1' }] })
  const first = await until(() => isReady(podIn(api, 'web-node-1')) && podIn(api, 'web-node-1'))
  expect(first?.metadata?.annotations?.['kubernetes.io/config.mirror']).toBe(
    first?.metadata?.annotations?.['kubernetes.io/config.hash'],
  )
  await api.client.delete(
    { group: '', version: 'v1', plural: 'pods', kind: 'Pod', namespaced: true },
    { name: 'web-node-1', namespace: 'default' },
  )
  const second = await until(() => isReady(podIn(api, 'web-node-1')) && podIn(api, 'web-node-1'))
  expect(second?.metadata?.uid).not.toBe(first?.metadata?.uid)
  expect(second?.status?.containerStatuses?.[0]?.containerID).toBe(first?.status?.containerStatuses?.[0]?.containerID)
})

it('a pod past its deadline fails and stays failed', async () => {
  const api = createMemoryApi()
  await open({ client: api.client })
  create(api, 'web', { ...oneContainer, activeDeadlineSeconds: 2 })
  await until(() => isReady(podIn(api, 'web')))
  await until(() => podIn(api, 'web')?.status?.phase === 'Failed')
  expect(podIn(api, 'web')?.status).toMatchObject({
    reason: 'DeadlineExceeded',
    message: 'Pod was active on the node longer than the specified deadline',
  })
})

it('a pod that does not fit is rejected, and nothing of it is started', async () => {
  const api = createMemoryApi()
  await open({ client: api.client, configuration: { maxPods: 1 } })
  create(api, 'one', oneContainer)
  await until(() => isReady(podIn(api, 'one')))
  create(api, 'two', oneContainer)
  await until(() => podIn(api, 'two')?.status?.phase === 'Failed')
  expect(podIn(api, 'two')?.status).toMatchObject({
    reason: 'OutOfpods',
    message: "Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: 1, capacity: 1",
  })
  const { items } = await memory.runtimeService.listPodSandbox({})
  expect(items.map(({ metadata }) => metadata?.name)).toEqual(['one'])
})

it('a critical pod is admitted at the cost of another, which fails as disrupted', async () => {
  const api = createMemoryApi()
  await open({ client: api.client, configuration: { maxPods: 1 } })
  create(api, 'web', oneContainer)
  await until(() => isReady(podIn(api, 'web')))
  create(api, 'dns', { ...oneContainer, priority: 2_000_000_000 })
  await until(() => isReady(podIn(api, 'dns')))
  const { phase, reason, message, conditions = [] } = podIn(api, 'web')?.status ?? {}
  expect({ phase, reason, message }).toEqual({
    phase: 'Failed',
    reason: 'Preempting',
    message: 'Preempted in order to admit critical pod',
  })
  expect(conditions.find(({ type }) => type === 'DisruptionTarget')).toMatchObject({
    status: 'True',
    reason: 'TerminationByKubelet',
    message: 'Pod was preempted by Kubelet to accommodate a critical pod.',
  })
  expect(conditions.find(({ type }) => type === 'example.com/gate')?.status).toBe('True')
  const events = api.seen.flatMap(({ verb, body }) => (verb === 'create' ? [(body as Event).reason] : []))
  expect(events).toContain('Preempting')
})

it('goes by the labels and taints that the node has now', async () => {
  const api = createMemoryApi()
  await open({ client: api.client, nodeLabels: { disk: 'ssd' } })
  create(api, 'fits', { ...oneContainer, nodeSelector: { disk: 'ssd' } })
  create(api, 'strays', { ...oneContainer, nodeSelector: { disk: 'hdd' } })
  await until(() => isReady(podIn(api, 'fits')))
  await until(() => podIn(api, 'strays')?.status?.phase === 'Failed')
  expect(podIn(api, 'strays')?.status).toMatchObject({
    reason: 'NodeAffinity',
    message: "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
  })
  const node = api.get('/api/v1/nodes/node-1') as Node
  api.put('/api/v1/nodes/node-1', {
    ...node,
    metadata: { ...node.metadata, labels: { ...node.metadata?.labels, disk: 'hdd' } },
    spec: { taints: [{ key: 'down', effect: 'NoExecute' }] },
  } as Node)
  create(api, 'bears', { ...oneContainer, nodeSelector: { disk: 'hdd' }, tolerations: [{ operator: 'Exists' }] })
  await until(() => isReady(podIn(api, 'bears')))
  create(api, 'shies', oneContainer)
  await until(() => podIn(api, 'shies')?.status?.reason === 'TaintToleration')
  expect(podIn(api, 'fits')?.status?.phase).toBe('Running')
})

const sized = (cpu: string, memory = '64Mi', more: object = {}) => ({
  containers: [{ ...oneContainer.containers[0], resources: { requests: { cpu, memory } }, ...more }],
})
function respec(api: MemoryApi, name: string, spec: object): void {
  const pod = podIn(api, name)
  const generation = (pod?.metadata?.generation ?? 0) + 1
  api.put(path(name), { ...pod, metadata: { ...pod?.metadata, generation }, spec: { ...pod?.spec, ...spec } } as Pod)
}
const conditionOf = (api: MemoryApi, name: string, wanted: string) =>
  podIn(api, name)?.status?.conditions?.find(({ type }) => type === wanted)
const reasonsOf = (api: MemoryApi, name: string) =>
  api.seen.flatMap(({ verb, body }) => {
    const { reason, involvedObject } = body as Event
    return verb === 'create' && involvedObject?.name === name ? [reason] : []
  })

it('a resize whose policy asks for a restart restarts the container, and is no crash', async () => {
  const api = createMemoryApi()
  await open({ client: api.client })
  const resizePolicy = [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }]
  create(api, 'web', sized('100m', '64Mi', { resizePolicy }))
  await until(() => isReady(podIn(api, 'web')))
  respec(api, 'web', sized('100m', '128Mi', { resizePolicy }))
  const status = () => podIn(api, 'web')?.status?.containerStatuses?.[0]
  await until(() => status()?.restartCount === 1 && isReady(podIn(api, 'web')))
  expect(status()?.resources?.requests).toEqual({ cpu: '100m', memory: '128Mi' })
  await until(() => reasonsOf(api, 'web').includes('ResizeCompleted'))
  expect(reasonsOf(api, 'web').filter((reason) => reason?.startsWith('Resize'))).toEqual([
    'ResizeStarted',
    'ResizeCompleted',
  ])
  expect(conditionOf(api, 'web', 'PodResizeInProgress')).toBeUndefined()
})

it('a resize that does not fit waits until another pod has gone', async () => {
  const api = createMemoryApi()
  await open({ client: api.client })
  const cpus = Number((api.get('/api/v1/nodes/node-1') as Node).status?.allocatable?.['cpu'])
  const half = `${cpus * 500}m`
  create(api, 'grows', sized(half))
  create(api, 'stays', sized(half))
  await until(() => isReady(podIn(api, 'grows')) && isReady(podIn(api, 'stays')))
  respec(api, 'grows', sized(String(cpus)))
  await until(() => conditionOf(api, 'grows', 'PodResizePending'))
  expect(conditionOf(api, 'grows', 'PodResizePending')).toMatchObject({
    status: 'True',
    reason: 'Deferred',
    message: `Node didn't have enough resource: cpu, requested: ${cpus * 1000}, used: ${cpus * 500}, capacity: ${cpus * 1000}`,
  })
  expect(podIn(api, 'grows')?.status?.containerStatuses?.[0]?.allocatedResources?.['cpu']).toBe(half)
  api.remove(path('stays'))
  await until(() => !conditionOf(api, 'grows', 'PodResizePending'))
  await until(() => podIn(api, 'grows')?.status?.containerStatuses?.[0]?.resources?.requests?.['cpu'] === String(cpus))
})

it('a shutdown of the machine ends pods by priority, makes the node unready and keeps new pods away', async () => {
  const api = createMemoryApi()
  const announced = Promise.withResolvers<void>()
  let held = 0
  const logind: Logind = {
    inhibit: async () => (held++, { release: async () => void held-- }),
    longestDelayMs: async () => 60_000,
    raiseDelay: async () => undefined,
    async *shutdowns(signal) {
      await announced.promise
      yield true
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    },
  }
  const shutdownGracePeriodByPodPriority = [{ priority: 0, shutdownGracePeriodSeconds: 5 }]
  await open({ client: api.client, logind, configuration: { shutdownGracePeriodByPodPriority } })
  create(api, 'web', oneContainer)
  await until(() => isReady(podIn(api, 'web')) && held === 1)
  announced.resolve()
  await until(() => podIn(api, 'web')?.status?.phase === 'Failed')
  const message = 'Pod was terminated in response to imminent node shutdown.'
  expect(podIn(api, 'web')?.status).toMatchObject({ reason: 'Terminated', message })
  expect(conditionOf(api, 'web', 'DisruptionTarget')).toMatchObject({ status: 'True', message })
  const ready = () => (api.get('/api/v1/nodes/node-1') as Node).status?.conditions?.find(({ type }) => type === 'Ready')
  await until(() => ready()?.status === 'False' && held === 0)
  expect(ready()).toMatchObject({ reason: 'KubeletNotReady', message: 'node is shutting down' })
  create(api, 'late', oneContainer)
  await until(() => podIn(api, 'late')?.status?.reason === 'NodeShutdown')
})
