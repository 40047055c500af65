// Devices from plugins that really serve and register over sockets.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterEach, beforeEach, expect, it, test } from 'vitest'
import { systemClock } from '../../src/clock.ts'
import { chooseDevices, isExtendedResource } from '../../src/device/devices.ts'
import { type DeviceManager, openDeviceManager } from '../../src/device/manager.ts'
import { type DevicePluginOptions, serveDevicePlugin } from '../../src/device/plugin.ts'
import { registrationProblem } from '../../src/device/registration.ts'
import type { ResourceGiver } from '../../src/admission/admission.ts'
import type { TopologyPolicy } from '../../src/topology/hints.ts'
import { createTopologyManager } from '../../src/topology/manager.ts'
import { silentLogger } from '../../src/log.ts'

let rootDir: string
let opened: AsyncDisposableStack
let changes: string[][]
beforeEach(async () => {
  rootDir = await mkdtemp(join(tmpdir(), 'dp-'))
  await mkdir(join(rootDir, 'device-plugins'))
  opened = new AsyncDisposableStack()
  changes = []
})
afterEach(async () => {
  await opened.disposeAsync()
  await rm(rootDir, { recursive: true, force: true })
})

const nodes = [0, 1].map((id) => ({ id, distances: new Map<number, number>(), memory: {} }))
const gpu = 'example.com/gpu'
const { signal } = new AbortController()
const device = (id: string, healthy = true, nodes: number[] = []) => ({ id, healthy, nodes })
const pod = (uid: string, count: number, spec: object = {}): Pod => ({
  metadata: { uid, name: uid },
  spec: { containers: [{ name: 'main', resources: { limits: { [gpu]: String(count) } } }], ...spec },
})

async function openManager(policy: TopologyPolicy = 'none'): Promise<DeviceManager & Pick<ResourceGiver, 'admit'>> {
  const manager = await openDeviceManager({
    rootDir,
    nodes,
    changed: (uids) => void changes.push([...uids]),
    clock: systemClock,
    log: silentLogger,
  })
  opened.use(manager)
  await manager.start()
  const giver = createTopologyManager({
    policy,
    nodes,
    preferClosest: false,
    scope: 'container',
    givers: [manager],
  })
  return {
    ...manager,
    // As admission does it: what is refused keeps nothing.
    async admit(wanted, signal) {
      const refused = await giver.admit(wanted, signal)
      if (refused) await giver.release(wanted.metadata?.uid ?? '')
      return refused
    },
  }
}
async function plug(more: Partial<DevicePluginOptions> = {}) {
  const plugin = await serveDevicePlugin({
    resourceName: gpu,
    folder: join(rootDir, 'device-plugins'),
    devices: [device('a'), device('b'), device('c', false)],
    allocate: (ids) => ({ envs: { GPUS: ids.join(',') }, cdiDevices: ids.map((id) => `example.com/gpu=${id}`) }),
    ...more,
  })
  opened.use(plugin)
  return plugin
}
const counted = async (manager: DeviceManager, capacity: number, allocatable: number): Promise<void> =>
  expect.poll(() => manager.resources().get(gpu)).toEqual({ capacity, allocatable })
const idsOf = (manager: DeviceManager, uid: string, container = 'main') =>
  manager
    .health(uid, container)
    .get(gpu)
    ?.map(({ resourceID }) => resourceID)

it('gives healthy devices, each to one, with what the plugin says that they need; and takes them back', async () => {
  const manager = await openManager()
  await plug()
  await counted(manager, 3, 2)
  expect(await manager.admit(pod('one', 1), signal)).toBeUndefined()
  expect(await manager.admit(pod('two', 1), signal)).toBeUndefined()
  expect(await manager.admit(pod('one', 1), signal)).toBeUndefined() // it has its own
  expect([idsOf(manager, 'one'), idsOf(manager, 'two')]).toEqual([['a'], ['b']])
  expect(manager.answers('two', 'main')).toMatchObject([
    { envs: { GPUS: 'b' }, cdiDevices: [{ name: 'example.com/gpu=b' }] },
  ])
  expect(await manager.admit(pod('three', 1), signal)).toEqual({
    reason: 'UnexpectedAdmissionError',
    message: `Allocate failed due to requested number of devices unavailable for ${gpu}. Requested: 1, Available: 0, which is unexpected`,
  })
  await manager.release('one')
  expect(await manager.admit(pod('three', 1), signal)).toBeUndefined()
  expect(idsOf(manager, 'three')).toEqual(['a'])
})

it('all of a pod or nothing; init containers hand theirs on, sidecars keep them', async () => {
  const manager = await openManager()
  await plug({ devices: ['a', 'b', 'c'].map((id) => device(id)) })
  await counted(manager, 3, 3)
  const asks = (name: string, count: number, more: object = {}) => ({
    name,
    resources: { limits: { [gpu]: String(count) } },
    ...more,
  })
  const wanted = pod('p', 2, { initContainers: [asks('init', 2), asks('side', 1, { restartPolicy: 'Always' })] })
  expect(await manager.admit(wanted, signal)).toBeUndefined()
  const [init, side, main] = ['init', 'side', 'main'].map((name) => idsOf(manager, 'p', name) ?? [])
  expect(init).toEqual(['a', 'b'])
  expect(new Set([...(side ?? []), ...(main ?? [])]).size).toBe(3)
  await manager.release('p')
  const tooMuch = pod('q', 2, { containers: [asks('first', 2), asks('second', 2)] })
  expect(await manager.admit(tooMuch, signal)).toMatchObject({ reason: 'UnexpectedAdmissionError' })
  expect(idsOf(manager, 'q', 'first')).toBeUndefined()
  expect(await manager.admit(pod('r', 3), signal)).toBeUndefined()
})

it('asks the plugin which it would rather give, and tells it before a container starts', async () => {
  const manager = await openManager()
  const started: string[][] = []
  await plug({
    preferred: (free, _must, count) => free.toSorted().toReversed().slice(0, count),
    preStart: (ids) => void started.push([...ids]),
  })
  await counted(manager, 3, 2)
  await manager.admit(pod('one', 1), signal)
  expect(idsOf(manager, 'one')).toEqual(['b'])
  await manager.preStart('one', 'main', signal)
  expect(started).toEqual([['b']])
})

it('devices of one container are near to each other, where the policy wants it', async () => {
  const manager = await openManager('single-numa-node')
  const near = (id: string, node: number) => device(id, true, [node])
  await plug({ devices: [near('a', 0), near('b', 1), near('c', 0), near('d', 1), near('e', 1)] })
  await counted(manager, 5, 5)
  expect(await manager.admit(pod('three', 3), signal)).toBeUndefined()
  expect(idsOf(manager, 'three')).toEqual(['b', 'd', 'e'])
  expect(await manager.admit(pod('three', 3), signal)).toBeUndefined() // it has its own
  expect(await manager.admit(pod('more', 3), signal)).toMatchObject({ reason: 'TopologyAffinityError' })
  expect(await manager.admit(pod('two', 2), signal)).toBeUndefined()
  expect(idsOf(manager, 'two')).toEqual(['a', 'c'])
  await manager[Symbol.asyncDispose]()
  const text = await readFile(join(rootDir, 'device-plugins/kubelet_internal_checkpoint'), 'utf8')
  expect(JSON.parse(text)).toMatchObject({ Data: { PodDeviceEntries: [{ DeviceIDs: { 1: ['b', 'd', 'e'] } }, {}] } })
})

it('tells of devices that fall ill, and of plugins that go', async () => {
  const manager = await openManager()
  const plugin = await plug()
  await counted(manager, 3, 2)
  await manager.admit(pod('one', 1), signal)
  plugin.update([device('a', false), device('b')])
  await counted(manager, 2, 1)
  expect(manager.health('one', 'main').get(gpu)).toEqual([{ resourceID: 'a', health: 'Unhealthy' }])
  expect(changes.at(-1)).toEqual(['one'])
  await plugin[Symbol.asyncDispose]()
  await counted(manager, 2, 0)
  expect(await manager.admit(pod('two', 1), signal)).toMatchObject({
    message: `Allocate failed due to can't allocate unregistered device ${gpu}, which is unexpected`,
  })
})

it('a plugin that the kubelet finds by its socket offers its devices until that is gone', async () => {
  const manager = await openManager()
  const folder = join(rootDir, 'elsewhere') // where no kubelet listens
  await mkdir(folder)
  const started: string[][] = []
  await plug({ folder, preStart: (ids) => void started.push([...ids]) })
  const plugin = { name: gpu, endpoint: join(folder, 'example.com_gpu.sock'), versions: ['v1beta1'] }
  await manager.plugins.register(plugin, signal)
  await counted(manager, 3, 2)
  await manager.admit(pod('one', 1), signal)
  await manager.preStart('one', 'main', signal)
  expect(started).toEqual([['a']])
  await manager.plugins.deregister({ ...plugin, endpoint: '/another' })
  await counted(manager, 3, 2)
  await manager.plugins.deregister(plugin)
  await counted(manager, 3, 0)
  for (const [wrong, problem] of [
    [{ versions: ['v2'] }, 'requested API version "v2" is not supported by kubelet'],
    [{ name: 'gpu' }, 'the ResourceName "gpu" is invalid'],
  ] as const) {
    await expect(async () => manager.plugins.register({ ...plugin, ...wrong }, signal)).rejects.toThrow(problem)
  }
})

it('a kubelet that starts anew knows what it gave, and the plugin registers again by itself', async () => {
  const first = await openManager()
  const answers: number[] = []
  await plug({ allocate: (ids) => (answers.push(ids.length), { envs: { N: ids.join() } }) })
  await counted(first, 3, 2)
  await first.admit(pod('one', 2), signal)
  await first[Symbol.asyncDispose]()

  const second = await openManager()
  expect(idsOf(second, 'one')).toEqual(['a', 'b'])
  expect(second.answers('one', 'main')).toMatchObject([{ envs: { N: 'a,b' } }])
  await counted(second, 3, 2)
  expect(await second.admit(pod('one', 2), signal)).toBeUndefined()
  expect(answers).toEqual([2])
  expect(await second.admit(pod('two', 1), signal)).toMatchObject({ reason: 'UnexpectedAdmissionError' })
})

it('a checkpoint that was tampered with is refused, with what to do', async () => {
  const manager = await openManager()
  await plug()
  await counted(manager, 3, 2)
  await manager.admit(pod('one', 1), signal)
  await manager[Symbol.asyncDispose]()
  const path = join(rootDir, 'device-plugins/kubelet_internal_checkpoint')
  const text = await readFile(path, 'utf8')
  expect(JSON.parse(text)).toMatchObject({
    Data: {
      PodDeviceEntries: [{ PodUID: 'one', ContainerName: 'main', ResourceName: gpu, DeviceIDs: { '-1': ['a'] } }],
      RegisteredDevices: { [gpu]: ['a', 'b'] },
    },
  })
  for (const [broken, why] of [
    [text.replace('"a"', '"b"'), 'its checksum does not fit its content'],
    ['{', 'is not JSON'],
    ['{}', 'Data: '],
  ] as const) {
    await writeFile(path, broken)
    await expect(openManager()).rejects.toThrow(`${path}: ${why}`)
  }
})

test.each<[object, string | undefined]>([
  [{}, undefined],
  [{ version: 'v1' }, 'requested API version "v1" is not supported by kubelet. Supported version is ["v1beta1"]'],
  [{ resourceName: 'gpu' }, 'the ResourceName "gpu" is invalid'],
  [{ resourceName: 'kubernetes.io/gpu' }, 'the ResourceName "kubernetes.io/gpu" is invalid'],
  [{ endpoint: '../x' }, expect.stringContaining('the endpoint "../x" is invalid') as never],
])('a registration with %j', (more, problem) => {
  const request = { version: 'v1beta1', endpoint: 'a.sock', resourceName: gpu, options: undefined, ...more }
  expect(registrationProblem(request)).toEqual(problem)
})

it('extended resources have a domain that is not Kubernetes’ own', () => {
  const names = ['a.b/c', 'nvidia.com/gpu', 'cpu', 'kubernetes.io/x', 'x.kubernetes.io/x', '/x', 'a/', 'requests.a/b']
  expect(names.filter(isExtendedResource)).toEqual(['a.b/c', 'nvidia.com/gpu'])
})

it('a choice has as many as wanted, from what may be taken, reusable ones first', () => {
  const ids = fc.uniqueArray(fc.nat(7).map(String), { maxLength: 8 })
  fc.assert(
    fc.property(ids, ids, ids, fc.nat(9), (free, again, preferred, count) => {
      const reusable = again.filter((id) => !free.includes(id))
      const chosen = chooseDevices({ free, reusable, count, preferred })
      if (free.length + reusable.length < count) {
        expect(chosen).toBeUndefined()
        return
      }
      expect(new Set(chosen).size).toBe(count)
      expect(chosen?.every((id) => free.includes(id) || reusable.includes(id))).toBe(true)
      expect(chosen?.filter((id) => reusable.includes(id))).toHaveLength(Math.min(count, reusable.length))
    }),
  )
})
