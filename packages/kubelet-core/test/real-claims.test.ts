// Pods with claims in containers that really run: a driver on sockets, its devices by CDI in the environment.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { credentials } from '@grpc/grpc-js'
import { pods } from '@nodelet/kube-client'
import { openCgroups } from '@nodelet/linux'
import type { Event, Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { makeRuntime, type RuntimeFixture } from '../../runtime-runc/test/runtime-fixture.ts'
import type { Kubelet } from '../src/config.ts'
import { type DraPluginOptions, serveDraPlugin } from '../src/dra/plugin.ts'
import { type GetPodResourcesResponse, PodResourcesListerClient } from '../src/gen/podresources.ts'
import { createKubelet } from '../src/kubelet.ts'
import { createMemoryApi, type MemoryApi } from './memory-api.ts'
import { until } from './until.ts'
import { stay } from './whole-cluster.ts'

let f: RuntimeFixture & AsyncDisposable
let base: string
let folder: string
let api: MemoryApi
let kubelet: Kubelet
let driver: AsyncDisposable
/** What the driver did: `+CLAIM`, `-CLAIM`. */
let calls: string[]

const cdi = () => join(base, 'cdi')
const podsPath = '/api/v1/namespaces/default/pods'
const podIn = (name: string): Pod | undefined => api.get(`${podsPath}/${name}`) as Pod | undefined

async function open(): Promise<Kubelet> {
  const made = await createKubelet({
    nodeName: 'node-1',
    nodeIPs: ['127.0.0.1'],
    client: api.client,
    ...f.runtime,
    rootDir: join(folder, 'root'),
    configuration: { podLogsDir: join(folder, 'logs'), cgroupRoot: f.cgroup },
    ...(process.env['NODELET_LOG'] && { log: console as never }),
  })
  await made.start()
  return made
}

/** Its devices tell their claim, and themselves, to the containers that have them. */
async function drive(more: Partial<DraPluginOptions> = {}): Promise<AsyncDisposable> {
  return serveDraPlugin({
    driverName: 'clock.example.com',
    rootDir: join(folder, 'root'),
    async prepare({ name }) {
      calls.push(`+${name}`)
      const devices = ['east', 'west'].map((device) => ({
        name: `${name}-${device}`,
        containerEdits: { env: [`CLAIM=${name}`, `CLOCK_${device.toUpperCase()}=yes`] },
      }))
      const spec = { cdiVersion: '0.6.0', kind: 'example.com/clock', devices }
      await writeFile(join(cdi(), `${name}.json`), JSON.stringify(spec))
      return ['east', 'west'].map((device) => ({
        pool: 'node-1',
        device,
        requests: [device],
        cdiIds: [`example.com/clock=${name}-${device}`],
      }))
    },
    async unprepare({ name }) {
      calls.push(`-${name}`)
      await rm(join(cdi(), `${name}.json`), { force: true })
    },
    ...more,
  })
}

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'nd-'))
  await mkdir(cdi())
  f = await makeRuntime({ cdiSpecDirs: [cdi()] })
})
afterAll(async () => {
  await (await openCgroups()).remove(`${f.cgroup}/kubepods`)
  await f?.[Symbol.asyncDispose]()
  await rm(base, { recursive: true, force: true })
})
beforeEach(async () => {
  folder = await mkdtemp(join(base, 'k-'))
  api = createMemoryApi()
  calls = []
  driver = await drive()
  kubelet = await open()
})
afterEach(async () => {
  await kubelet.removeAllPods()
  await driver[Symbol.asyncDispose]()
})

const owned = { apiVersion: 'v1', kind: 'Pod', controller: true }

/** What the scheduler and the controllers of claims would have done. */
function createClaim(name: string, podUids: readonly string[], ownerUid?: string): void {
  api.put(`/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/${name}`, {
    metadata: {
      name,
      namespace: 'default',
      ...(ownerUid && { ownerReferences: [{ ...owned, name: ownerUid, uid: ownerUid }] }),
    },
    status: {
      allocation: { devices: { results: [{ driver: 'clock.example.com' }] } },
      reservedFor: podUids.map((uid) => ({ uid })),
    },
  } as never)
}

function createPod(name: string, spec: object, status: object = {}): void {
  const metadata = { name, namespace: 'default', uid: `uid-${name}` }
  const full = { nodeName: 'node-1', terminationGracePeriodSeconds: 2, ...spec }
  api.put(`${podsPath}/${name}`, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata,
    spec: full,
    status: { phase: 'Pending', ...status },
  } as never)
}

const shell = (name: string, script: string, more: object = {}) => ({
  name,
  image: f.image,
  imagePullPolicy: 'IfNotPresent',
  command: ['/bin/sh', '-c', script],
  ...more,
})
const show = 'echo ${CLAIM-none} east=$CLOCK_EAST west=$CLOCK_WEST'
const using = (request?: string) => ({ resources: { claims: [{ name: 'time', ...(request && { request }) }] } })
const named = (claim: string) => ({ resourceClaims: [{ name: 'time', resourceClaimName: claim }] })

const running = async (name: string): Promise<Pod> =>
  until(() => {
    const pod = podIn(name)
    return pod?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') && pod
  })
const gone = async (name: string): Promise<true> => until(() => !podIn(name))
const logOf = async (pod: string, container: string): Promise<string> => {
  const text = await readFile(join(folder, 'logs', `default_${pod}_uid-${pod}`, container, '0.log'), 'utf8')
  return text.replaceAll(/^\S+ \S+ \S /gm, '').trim()
}
const eventWrites = (): number => api.seen.filter(({ path }) => path.includes('/events/')).length
const eventsOf = (name: string): string[] =>
  api.seen
    .filter(({ verb, path }) => verb === 'create' && path.includes('/events/'))
    .map(({ body }) => body as Event)
    .filter(({ involvedObject, reason }) => involvedObject.name === name && reason === 'FailedPrepareDynamicResources')
    .map(({ message = '' }) => message)

it('containers of all kinds have the devices of the requests that they name, and no others', async () => {
  createPod('web', {
    resourceClaims: [{ name: 'time', resourceClaimTemplateName: 'clocks' }],
    initContainers: [
      shell('init', show, using('east')),
      shell('side', `${show}; ${stay}`, { restartPolicy: 'Always', ...using('west') }),
    ],
    containers: [shell('main', `${show}; ${stay}`, using()), shell('plain', `${show}; ${stay}`)],
  })
  // The claim is made after the pod is bound here: then the pod may begin.
  await until(() => eventsOf('web').length > 0)
  expect(eventsOf('web')[0]).toBe(
    'Failed to prepare dynamic resources: pod "default/web": ResourceClaim not created yet',
  )
  // Tried again after its first status came back: what follows is a change of the claims alone.
  await until(() => podIn('web')?.status?.conditions)
  const tried = eventWrites()
  await until(() => eventWrites() > tried)
  createClaim('web-time-1', ['uid-web'], 'uid-web')
  const pod = podIn('web') ?? {}
  const resourceClaimStatuses = [{ name: 'time', resourceClaimName: 'web-time-1' }]
  api.put(`${podsPath}/web`, { ...pod, status: { ...pod.status, resourceClaimStatuses } } as never)
  await running('web')
  await expect.poll(() => logOf('web', 'plain')).toBe('none east= west=')
  expect(await logOf('web', 'init')).toBe('web-time-1 east=yes west=')
  expect(await logOf('web', 'side')).toBe('web-time-1 east= west=yes')
  expect(await logOf('web', 'main')).toBe('web-time-1 east=yes west=yes')
  expect(calls).toEqual(['+web-time-1'])

  // Its driver does not say how they are.
  const statusOf = (name: string) => podIn('web')?.status?.containerStatuses?.find((one) => one.name === name)
  expect(statusOf('main')).toMatchObject({
    allocatedResourcesStatus: [
      {
        name: 'claim:time',
        resources: ['east', 'west'].map((device) => ({
          resourceID: `example.com/clock=web-time-1-${device}`,
          health: 'Unknown',
        })),
      },
    ],
  })
  expect(statusOf('plain')).not.toHaveProperty('allocatedResourcesStatus')

  const client = new PodResourcesListerClient(
    `unix://${join(folder, 'root/pod-resources/kubelet.sock')}`,
    credentials.createInsecure(),
  )
  const answer = await new Promise<GetPodResourcesResponse>((resolve, reject) =>
    client.get({ podName: 'web', podNamespace: 'default' }, (error, got) => (error ? reject(error) : resolve(got))),
  )
  client.close()
  const told = answer.podResources?.containers.map(({ name, dynamicResources }) => [
    name,
    dynamicResources.flatMap(({ claimResources }) => claimResources.map(({ deviceName }) => deviceName)),
  ])
  expect(told).toEqual([
    ['side', ['west']],
    ['main', ['east', 'west']],
    ['plain', []],
  ])
})

it('a claim that two pods share is prepared once, and unprepared when nothing of the last one runs, before it has ended', async () => {
  createClaim('shared', ['uid-one', 'uid-two'])
  for (const name of ['one', 'two']) {
    createPod(name, { ...named('shared'), containers: [shell('main', `${show}; ${stay}`, using())] })
  }
  await Promise.all([running('one'), running('two')])
  expect(calls).toEqual(['+shared'])
  api.remove(`${podsPath}/one`, 2)
  await gone('one')
  expect(calls).toEqual(['+shared'])

  let phase: string | undefined
  let containers: number | undefined
  await driver[Symbol.asyncDispose]()
  driver = await drive({
    async unprepare({ name }) {
      calls.push(`-${name}`)
      phase = podIn('two')?.status?.phase
      const { containers: all } = await f.runtime.runtimeService.listContainers({})
      containers = all.filter(
        ({ state, labels }) => state === 1 && labels['io.kubernetes.pod.uid'] === 'uid-two',
      ).length
    },
  })
  api.remove(`${podsPath}/two`, 2)
  await gone('two')
  expect(calls).toEqual(['+shared', '-shared'])
  expect({ phase, containers }).toEqual({ phase: 'Running', containers: 0 })
})

it('a pod that ends by itself keeps its phase until its claim is unprepared', async () => {
  createClaim('short', ['uid-short'])
  let failures = 1
  const phases: (string | undefined)[] = []
  await driver[Symbol.asyncDispose]()
  driver = await drive({
    unprepare({ name }) {
      calls.push(`-${name}`)
      phases.push(podIn('short')?.status?.phase)
      if (failures-- > 0) throw new Error('not yet')
    },
  })
  createPod('short', { ...named('short'), restartPolicy: 'Never', containers: [shell('main', show, using())] })
  await until(() => podIn('short')?.status?.phase === 'Succeeded')
  expect(calls).toEqual(['+short', '-short', '-short'])
  expect(phases).not.toContain('Succeeded')
  expect(await logOf('short', 'main')).toBe('short east=yes west=yes')
})

it('what a driver cannot prepare is told, and tried again', async () => {
  createClaim('late', ['uid-late'])
  let failures = 2
  await driver[Symbol.asyncDispose]()
  driver = await drive({
    prepare({ name }) {
      if (failures-- > 0) throw new Error('the clock stands still')
      calls.push(`+${name}`)
      return []
    },
  })
  createPod('late', { ...named('late'), containers: [shell('main', `${show}; ${stay}`, using())] })
  await running('late')
  expect(calls).toEqual(['+late'])
  expect(eventsOf('late')).toContain(
    'Failed to prepare dynamic resources: NodePrepareResources failed for ResourceClaim late: the clock stands still',
  )
})

it('a kubelet that stops while a driver prepares finishes with the next one; containers keep what they have', async () => {
  createClaim('slow', ['uid-slow'])
  const begun = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  await driver[Symbol.asyncDispose]()
  driver = await drive({
    async prepare({ name }) {
      calls.push(`+${name}`)
      begun.resolve()
      await release.promise
      return []
    },
  })
  createPod('slow', { ...named('slow'), containers: [shell('main', `${show}; ${stay}`, using())] })
  await begun.promise
  await kubelet.close()
  release.resolve()
  await driver[Symbol.asyncDispose]()
  driver = await drive()
  kubelet = await open()
  const { status } = await running('slow')
  expect(calls).toEqual(['+slow', '+slow'])
  await expect.poll(() => logOf('slow', 'main')).toBe('slow east=yes west=yes')
  await kubelet.close()
  kubelet = await open()
  expect((await running('slow')).status?.containerStatuses).toEqual(status?.containerStatuses)
})

it('claims of a pod that went while no kubelet was there are unprepared by the next one, when the driver is back', async () => {
  createClaim('left', ['uid-left'])
  createPod('left', { ...named('left'), containers: [shell('main', stay, using())] })
  await running('left')
  await kubelet.close()
  await driver[Symbol.asyncDispose]()
  await api.client.delete(pods, { name: 'left', namespace: 'default' })
  const { runtimeService } = f.runtime
  const { items } = await runtimeService.listPodSandbox({})
  const sandbox = items.find(({ metadata }) => metadata?.uid === 'uid-left')
  await runtimeService.removePodSandbox({ podSandboxId: sandbox?.id ?? '' })
  kubelet = await open()
  driver = await drive()
  await expect.poll(() => calls).toEqual(['+left', '-left'])
})
