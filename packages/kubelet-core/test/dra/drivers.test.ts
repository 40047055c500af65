// Drivers that come, go and come back, in all ways; and their ResourceSlices.
import { join } from 'node:path'
import { Server, type ServerWritableStream } from '@grpc/grpc-js'
import { StatusError } from '@nodelet/kube-client'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type Clock, systemClock } from '../../src/clock.ts'
import { createDrivers, type Drivers } from '../../src/dra/drivers.ts'
import { draService } from '../../src/dra/service.ts'
import { createSliceKeeper } from '../../src/dra/slices.ts'
import type { DRAPluginServer } from '../../src/gen/dra.ts'
import {
  type DRAResourceHealthServer,
  DRAResourceHealthService,
  HealthStatus,
  type NodeWatchResourcesResponse,
} from '../../src/gen/dra-health.ts'
import { listenOn } from '@nodelet/csi-node/registration'
import { silentLogger } from '../../src/log.ts'
import { still } from '../still.ts'
import { type DriverWorld, driverName, openWorld } from './world.ts'

let world: DriverWorld
let changes: string[]
beforeEach(async () => {
  world = await openWorld()
  changes = []
})
afterEach(async () => world[Symbol.asyncDispose]())

const { signal } = new AbortController()
const claim = { uid: 'uid-x', name: 'x', namespace: 'here' }

async function openDrivers(changed: (driver: string) => void = () => {}, clock: Clock = systemClock): Promise<Drivers> {
  const drivers = createDrivers({
    changed,
    healthChanged: (driver) => changes.push(`health of ${driver}`),
    called: (...call) => changes.push(call.slice(0, 3).join(' ')),
    clock,
    log: silentLogger,
  })
  world.opened.use(drivers)
  await world.watchFor(drivers)
  return drivers
}

it('a driver prepares claims and takes them back; what fails of one leaves the others alone', async () => {
  const drivers = await openDrivers()
  await world.plug({
    prepare({ name }) {
      if (name === 'y') throw new Error('no such clock')
      return [{ pool: 'p', device: 'd', shareId: 's', requests: ['r/first', 'q'], cdiIds: ['v/c=d'] }]
    },
  })
  await expect.poll(() => drivers.isThere(driverName)).toBe(true)
  const other = { ...claim, uid: 'uid-y', name: 'y' }
  expect(await drivers.get(driverName).prepare([claim, other], signal)).toEqual(
    new Map<string, unknown>([
      ['uid-x', [{ pool: 'p', device: 'd', shareId: 's', requests: ['r', 'q'], cdiIds: ['v/c=d'] }]],
      ['uid-y', new Error('NodePrepareResources failed for ResourceClaim y: no such clock')],
    ]),
  )
  expect(await drivers.get(driverName).unprepare([claim], signal)).toEqual(new Map([['uid-x', []]]))
  expect(changes).toEqual([
    `${driverName} /k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources OK`,
    `${driverName} /k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodeUnprepareResources OK`,
  ])
})

it('a driver of v1beta1 alone is spoken to in that', async () => {
  const asked: unknown[] = []
  const driver: DRAPluginServer = {
    nodePrepareResources({ request }, reply) {
      asked.push(request)
      const device = { poolName: 'p', deviceName: 'd', requestNames: [], cdiDeviceIds: ['v/c=d'], shareId: undefined }
      reply(null, { claims: { 'uid-x': { devices: [device], error: '' } } })
    },
    nodeUnprepareResources: (_call, reply) => reply(null, { claims: {} }),
  }
  const server = new Server()
  server.addService(draService('v1beta1'), driver)
  const endpoint = join(world.rootDir, 'old.sock')
  world.opened.use(await listenOn(server, endpoint))
  const drivers = await openDrivers()
  await drivers.register({ name: 'old', endpoint, versions: ['v1beta1.DRAPlugin'] }, signal)
  expect(await drivers.get('old').prepare([claim], signal)).toEqual(
    new Map([['uid-x', [{ pool: 'p', device: 'd', shareId: undefined, requests: [], cdiIds: ['v/c=d'] }]]]),
  )
  expect(asked).toEqual([{ claims: [claim] }])
  // It says nothing of the claim.
  expect(await drivers.get('old').unprepare([claim], signal)).toEqual(
    new Map([['uid-x', new Error('NodeUnprepareResources skipped ResourceClaim x')]]),
  )
})

it('a driver that is not there, or goes, is told of by name; a call in vain is counted', async () => {
  const drivers = await openDrivers()
  expect(() => drivers.get('none.example.com')).toThrow('DRA driver none.example.com is not registered')
  await drivers.register(
    { name: 'gone', endpoint: join(world.rootDir, 'gone.sock'), versions: ['v1.DRAPlugin'] },
    signal,
  )
  await expect(drivers.get('gone').prepare([claim], signal)).rejects.toThrow(/^NodePrepareResources: 14 UNAVAILABLE/)
  expect(changes.at(-1)).toMatch(/ UNAVAILABLE$/)
  await drivers.deregister({ name: 'gone', endpoint: join(world.rootDir, 'gone.sock'), versions: [] })
  expect(() => drivers.get('gone')).toThrow('DRA driver gone is not registered')
})

it('a call ends with its signal', async () => {
  const drivers = await openDrivers()
  const called = Promise.withResolvers<void>()
  const never = Promise.withResolvers<never>()
  await world.plug({
    prepare() {
      called.resolve()
      return never.promise
    },
  })
  await expect.poll(() => drivers.isThere(driverName)).toBe(true)
  const ending = new AbortController()
  const prepared = drivers.get(driverName).prepare([claim], ending.signal)
  await called.promise
  ending.abort(new Error('the pod is to end'))
  await expect(prepared).rejects.toThrow('the pod is to end')
  expect(changes.at(-1)).toMatch(/ CANCELLED$/)
})

it('of two plugins of one driver the newer is used, while it is there', async () => {
  const drivers = await openDrivers()
  const serve = async (device: string) => {
    const server = new Server()
    const driver: DRAPluginServer = {
      nodePrepareResources: (_call, reply) =>
        reply(null, { claims: { 'uid-x': { devices: [], error: `I am ${device}` } } }),
      nodeUnprepareResources: (_call, reply) => reply(null, { claims: {} }),
    }
    server.addService(draService('v1'), driver)
    const endpoint = join(world.rootDir, `${device}.sock`)
    const listening = world.opened.use(await listenOn(server, endpoint))
    const plugin = { name: 'two', endpoint, versions: ['v1.DRAPlugin'] }
    await drivers.register(plugin, signal)
    return { plugin, listening }
  }
  const answer = async () => {
    const outcome = (await drivers.get('two').prepare([claim], signal)).get('uid-x')
    return outcome instanceof Error ? outcome.message.replace(/.*: /, '') : outcome
  }
  const old = await serve('old')
  const { plugin, listening } = await serve('new')
  await expect.poll(answer).toBe('I am new')
  await expect(async () => drivers.register(plugin, signal)).rejects.toThrow(
    `endpoint ${plugin.endpoint} already registered for DRA driver two`,
  )
  await listening[Symbol.asyncDispose]()
  await expect.poll(async () => answer().catch(() => 'nobody')).toBe('I am old')
  await drivers.deregister(plugin)
  expect(await answer()).toBe('I am old')
  await drivers.deregister(old.plugin)
  expect(() => drivers.get('two')).toThrow('is not registered')
})

it('names that could not be a driver’s are refused', async () => {
  const drivers = await openDrivers()
  const refused = async (name: string) => drivers.register({ name, endpoint: '/x', versions: ['v1.DRAPlugin'] }, signal)
  await expect(refused('a,spec.nodeName=other')).rejects.toThrow(
    'DRA driver "a,spec.nodeName=other": must be a DNS name',
  )
  await expect(refused('a'.repeat(64))).rejects.toThrow('must be a DNS name')
})

it('devices are as well as their plugin says, while it says so', async () => {
  const { HEALTHY, UNHEALTHY } = HealthStatus
  const streams: ServerWritableStream<unknown, NodeWatchResourcesResponse>[] = []
  const server = new Server()
  const health: DRAResourceHealthServer = { nodeWatchResources: (call) => void streams.push(call) }
  server.addService(DRAResourceHealthService, health)
  const endpoint = join(world.rootDir, 'd.sock')
  world.opened.use(await listenOn(server, endpoint))
  const clock = still()
  const drivers = await openDrivers(() => {}, clock)
  const versions = ['v1.DRAPlugin', 'v1alpha1.DRAResourceHealth']
  await drivers.register({ name: 'd', endpoint, versions }, signal)
  await expect.poll(() => streams).toHaveLength(1)
  const tell = (...devices: [name: string, health: HealthStatus, holdsSeconds: bigint][]) =>
    streams.at(-1)?.write({
      devices: devices.map(([deviceName, how, healthCheckTimeoutSeconds]) => ({
        device: { poolName: 'p', deviceName },
        health: how,
        lastUpdatedTime: 0n,
        healthCheckTimeoutSeconds,
        message: '',
      })),
    })
  const told = () => ['a', 'b', 'c'].map((device) => drivers.health('d', 'p', device))
  expect(told()).toEqual(['Unknown', 'Unknown', 'Unknown'])
  tell(['a', HEALTHY, 0n], ['b', UNHEALTHY, 1n])
  await expect.poll(told).toEqual(['Healthy', 'Unhealthy', 'Unknown'])
  await expect.poll(() => changes).toEqual(['health of d'])
  clock.pass(999)
  tell(['a', HEALTHY, 0n], ['c', HEALTHY, 0n])
  await expect.poll(told).toEqual(['Healthy', 'Unhealthy', 'Healthy'])
  clock.pass(1) // b is too old
  expect(told()).toEqual(['Healthy', 'Unknown', 'Healthy'])
  expect(changes).toHaveLength(3)
  tell(['a', HEALTHY, 0n], ['b', HEALTHY, 60n])
  await expect.poll(told).toEqual(['Healthy', 'Healthy', 'Healthy'])
  clock.pass(29_999)
  expect(told()).toEqual(['Healthy', 'Healthy', 'Unknown'])
  clock.pass(1)
  expect(told()).toEqual(['Unknown', 'Healthy', 'Unknown'])
  changes.length = 0
  streams[0]?.end()
  await expect.poll(told).toEqual(['Unknown', 'Unknown', 'Unknown'])
  expect(changes).toEqual(['health of d'])
  clock.pass(5000)
  await expect.poll(() => streams).toHaveLength(2) // it is asked again
  tell(['a', UNHEALTHY, 0n])
  await expect.poll(told).toEqual(['Unhealthy', 'Unknown', 'Unknown'])
})

const slicesPath = '/apis/resource.k8s.io/v1/resourceslices'
const putSlice = (name: string, nodeName: string, driver: string) =>
  world.api.put(`${slicesPath}/${name}`, { metadata: { name }, spec: { nodeName, driver } } as never)
const slices = () => ['mine', 'other-driver', 'other-node'].filter((name) => world.api.get(`${slicesPath}/${name}`))
const wiped = () => world.api.seen.filter(({ verb }) => verb === 'deleteCollection').map(({ body }) => body)

async function keepSlices() {
  const clock = still()
  const keeper = createSliceKeeper({
    client: world.api.client,
    nodeName: 'node-1',
    awayMs: 30_000,
    isThere: (driver) => drivers.isThere(driver),
    clock,
    log: silentLogger,
  })
  world.opened.use(keeper)
  putSlice('mine', 'node-1', driverName)
  putSlice('other-driver', 'node-1', 'other.example.com')
  putSlice('other-node', 'node-2', driverName)
  const drivers = await openDrivers((driver) => keeper.changed(driver))
  return { keeper, drivers, pass: clock.pass }
}
const comes = async (drivers: Drivers) => {
  const plugin = await world.plug()
  await expect.poll(() => drivers.isThere(driverName)).toBe(true)
  return async () => {
    await plugin[Symbol.asyncDispose]()
    await expect.poll(() => drivers.isThere(driverName)).toBe(false)
  }
}

it('slices of a driver that stays away are removed, those of others not', async () => {
  const { drivers, pass } = await keepSlices()
  const goes = await comes(drivers)
  pass(60_000)
  await goes()
  pass(29_999)
  expect(wiped()).toEqual([])
  pass(1)
  await expect.poll(slices).toEqual(['other-driver', 'other-node'])
  expect(wiped()).toEqual([`spec.nodeName=node-1,spec.driver=${driverName}`])
})

it('slices of a driver that comes back in time stay', async () => {
  const { drivers, pass } = await keepSlices()
  const goes = await comes(drivers)
  await goes()
  pass(29_999)
  const goesAgain = await comes(drivers)
  pass(60_000)
  await goesAgain()
  pass(29_999)
  expect(wiped()).toEqual([])
  pass(1)
  await expect.poll(slices).toEqual(['other-driver', 'other-node'])
})

it('a driver that dies without a word is away, and back when it listens again', async () => {
  const drivers = await openDrivers()
  await drivers.register({ name: 'd', endpoint: join(world.rootDir, 'd.sock'), versions: ['v1.DRAPlugin'] }, signal)
  expect(drivers.isThere('d')).toBe(false)
  for (let times = 0; times < 2; times++) {
    const server = new Server()
    server.addService(draService('v1'), {} as never)
    const listening = world.opened.use(await listenOn(server, join(world.rootDir, 'd.sock')))
    await expect.poll(() => drivers.isThere('d')).toBe(true)
    await listening[Symbol.asyncDispose]()
    await expect.poll(() => drivers.isThere('d')).toBe(false)
  }
})

it('slices of before a restart of the kubelet go when their driver does not come', async () => {
  const { keeper, drivers, pass } = await keepSlices()
  keeper.start()
  await comes(drivers)
  await expect
    .poll(() => {
      pass(30_000) // the keeper may still be reading
      return slices()
    })
    .toEqual(['mine', 'other-node'])
})

it('an API server that fails is asked again; one that does not know ResourceSlices has none', async () => {
  const { keeper, pass } = await keepSlices()
  const { client } = world.api
  const remove = client.deleteCollection
  const answers = [new Error('not now'), new StatusError('DELETE', { code: 404, reason: 'NotFound', message: '' })]
  let asked = 0
  client.deleteCollection = async (...args) => {
    asked++
    const error = answers.shift()
    if (error) throw error
    return remove(...args)
  }
  keeper.changed(driverName)
  pass(30_000)
  await expect
    .poll(() => {
      pass(1000)
      return asked
    })
    .toBe(2)
  keeper.changed('other.example.com')
  pass(30_000)
  await expect.poll(slices).toEqual(['mine', 'other-node'])
  expect(asked).toBe(3)
})
