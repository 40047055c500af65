// Claims of pods, with drivers that really serve.
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openDynamicResources } from '../../src/assembly/dynamic-resources.ts'
import { systemClock } from '../../src/clock.ts'
import { resourceClaims } from '../../src/dra/claim.ts'
import { createDrivers, type Drivers } from '../../src/dra/drivers.ts'
import { type ClaimManager, openClaimManager } from '../../src/dra/manager.ts'
import { silentLogger } from '../../src/log.ts'
import { countClaims } from '../../src/metrics/dra-metrics.ts'
import { createKubeletMetrics } from '../../src/metrics/kubelet-metrics.ts'
import { type DriverWorld, driverName, openWorld, podWith } from './world.ts'

let world: DriverWorld
let drivers: Drivers
const metrics = createKubeletMetrics()
let worked: string[]
beforeEach(async () => {
  world = await openWorld()
  worked = []
  drivers = createDrivers({ changed: () => {}, healthChanged: () => {}, clock: systemClock, log: silentLogger })
  world.opened.use(drivers)
  await world.watchFor(drivers)
})
afterEach(async () => world[Symbol.asyncDispose]())

const { signal } = new AbortController()

const open = async (): Promise<ClaimManager> =>
  openClaimManager({
    path: join(world.rootDir, 'dra_manager_state'),
    read: async (namespace, name) => world.api.client.get(resourceClaims, { namespace, name }),
    drivers,
    log: silentLogger,
    changed: (claims) => countClaims(metrics, claims),
    worked: (operation, failed) => worked.push(`${operation} ${failed}`),
  })
const there = async (name = driverName) => expect.poll(() => drivers.isThere(name)).toBe(true)
interface SavedClaim {
  ClaimName: string
  PodUIDs: object
  DriverState: object
}
const saved = async (): Promise<Record<string, SavedClaim>> => {
  const { Data } = JSON.parse(await readFile(join(world.rootDir, 'dra_manager_state'), 'utf8')) as { Data: string }
  const { ClaimInfoStateList: list } = JSON.parse(Data) as { ClaimInfoStateList: SavedClaim[] }
  return Object.fromEntries(list.map((claim) => [claim.ClaimName, claim]))
}
const inUse = async () =>
  Object.fromEntries((await metrics.claimsInUse.get()).values.map(({ labels, value }) => [labels.driver_name, value]))

it('a claim of several pods is prepared once, and unprepared after the last of them', async () => {
  world.putClaim('x', ['p', 'q'])
  await world.plug()
  await there()
  const manager = await open()
  // At the same time: the one waits for the other.
  await Promise.all(['p', 'q'].map(async (uid) => manager.prepare(podWith(uid, 'x'), signal)))
  expect(world.calls).toEqual(['+x'])
  expect(await inUse()).toEqual({ '<any>': 1, [driverName]: 1 })
  const pod = podWith('q', 'x')
  expect(manager.cdiIds(pod, pod.spec?.containers[0] ?? { name: '' })).toEqual(['example.com/clock=x'])
  await manager.unprepare('p', signal)
  expect([manager.has('p'), manager.has('q')]).toEqual([false, true])
  expect(Object.keys((await saved())['x']?.PodUIDs ?? {})).toEqual(['q'])
  expect(world.calls).toEqual(['+x'])
  await manager.unprepare('q', signal)
  expect(world.calls).toEqual(['+x', '-x'])
  expect(await saved()).toEqual({})
  expect(await inUse()).toEqual({ '<any>': 0 })
  expect(worked).toEqual([
    'PrepareResources false',
    'PrepareResources false',
    'UnprepareResources false',
    'UnprepareResources false',
  ])
  await manager.unprepare('q', signal) // nothing of it is left
  await manager.prepare(podWith('none'), signal)
  expect(worked).toHaveLength(4)
})

it('pods that come while the last one goes find the claim prepared anew', async () => {
  world.putClaim('x', ['p', 'q', 'r'])
  await world.plug()
  await there()
  const manager = await open()
  await manager.prepare(podWith('p', 'x'), signal)
  await Promise.all([
    manager.unprepare('p', signal),
    manager.prepare(podWith('q', 'x'), signal),
    manager.prepare(podWith('r', 'x'), signal),
  ])
  expect(world.calls).toEqual(['+x', '-x', '+x'])
  expect(Object.keys((await saved())['x']?.PodUIDs ?? {}).toSorted()).toEqual(['q', 'r'])
})

it('what a kubelet was about to do when it was killed is done or undone by the next one', async () => {
  world.putClaim('x', ['p'])
  const begun = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  let state: Awaited<ReturnType<typeof saved>> = {}
  await world.plug({
    async prepare({ name }) {
      world.calls.push(`+${name}`)
      state = await saved()
      begun.resolve()
      await release.promise
      return []
    },
  })
  await there()
  const killed = await open()
  const ending = new AbortController()
  const lost = killed.prepare(podWith('p', 'x'), ending.signal)
  await begun.promise
  // It was on disk before the driver heard of it.
  expect(state).toMatchObject({ x: { PodUIDs: { p: {} }, DriverState: { [driverName]: { Devices: null } } } })

  const next = await open()
  ending.abort(new Error('killed'))
  await expect(lost).rejects.toThrow('killed')
  release.resolve()
  expect(next.has('p')).toBe(true)
  await next.prepare(podWith('p', 'x'), signal) // not known to be prepared: asked again
  expect(world.calls).toEqual(['+x', '+x'])
  // Or the pod is gone meanwhile.
  const last = await open()
  await last.releaseGone(new Set(['other']), signal)
  expect(world.calls).toEqual(['+x', '+x', '-x'])
  expect(await saved()).toEqual({})
})

it('pods that are known keep what they have; what cannot be taken back is left for later', async () => {
  for (const name of ['x', 'y']) world.putClaim(name, ['p', 'q'])
  let isBroken = true
  await world.plug({
    unprepare({ name }) {
      world.calls.push(`-${name}`)
      if (name === 'x' && isBroken) throw new Error('stuck')
    },
  })
  await there()
  const manager = await open()
  await manager.prepare(podWith('p', 'x', 'y'), signal)
  await manager.releaseGone(new Set(['p']), signal)
  expect(world.calls).toEqual(['+x', '+y'])
  await manager.releaseGone(new Set(), signal)
  expect(Object.keys(await saved())).toEqual(['x']) // y is done
  await expect(manager.unprepare('p', signal)).rejects.toThrow(
    'NodeUnprepareResources failed for ResourceClaim x: stuck',
  )
  isBroken = false
  await manager.releaseGone(new Set(), signal)
  expect(world.calls.slice(2)).toEqual(['-x', '-y', '-x', '-x'])
  expect(await saved()).toEqual({})
  expect(worked.slice(1)).toEqual(['UnprepareResources true', 'UnprepareResources true', 'UnprepareResources false'])
})

it('a driver that is missing keeps the pod waiting, and nothing is kept of it', async () => {
  world.putClaim('x', ['p'], ['missing.example.com'])
  const manager = await open()
  await expect(manager.prepare(podWith('p', 'x'), signal)).rejects.toThrow(
    'DRA driver missing.example.com is not registered',
  )
  expect(manager.has('p')).toBe(false)
  await expect(manager.prepare(podWith('p', 'unknown'), signal)).rejects.toThrow(
    /^fetch ResourceClaim unknown: .*NotFound/,
  )
  expect(worked).toEqual(['PrepareResources true', 'PrepareResources true'])
})

it('of several drivers one that fails is asked again, and all are asked to unprepare', async () => {
  world.putClaim('x', ['p'], [driverName, 'bell.example.com'])
  let isBroken = true
  await world.plug()
  await world.plug({
    driverName: 'bell.example.com',
    prepare({ name }) {
      world.calls.push(`bell +${name}`)
      if (isBroken) throw new Error('cracked')
      return [{ pool: 'tower', device: 'big' }]
    },
    unprepare: ({ name }) => void world.calls.push(`bell -${name}`),
  })
  await there()
  await there('bell.example.com')
  const manager = await open()
  const pod = podWith('p', 'x')
  await expect(manager.prepare(pod, signal)).rejects.toThrow('NodePrepareResources failed for ResourceClaim x: cracked')
  isBroken = false
  await manager.prepare(pod, signal)
  expect(await inUse()).toEqual({ '<any>': 1, [driverName]: 1, 'bell.example.com': 1 })
  const [container = { name: '' }] = pod.spec?.containers ?? []
  expect(manager.claimsOf(pod, container)).toMatchObject([
    {
      name: 'x',
      devices: [
        { driver: driverName, device: 'east' },
        { driver: 'bell.example.com', device: 'big' },
      ],
    },
  ])
  await manager.unprepare('p', signal)
  expect(world.calls.toSorted()).toEqual(['+x', '+x', '-x', 'bell +x', 'bell +x', 'bell -x'])
})

it('a claim without devices needs no driver, and goes with its pod', async () => {
  world.putClaim('x', ['p'], [])
  const manager = await open()
  const pod = podWith('p', 'x')
  await manager.prepare(pod, signal)
  expect(manager.cdiIds(pod, pod.spec?.containers[0] ?? { name: '' })).toEqual([])
  expect(manager.has('p')).toBe(true)
  await manager.unprepare('p', signal)
  expect(await saved()).toEqual({})
})

it('a pod whose template came to no claim needs nothing', async () => {
  const manager = await open()
  const resourceClaims = [{ name: 'a', resourceClaimTemplateName: 't' }]
  const pod = {
    metadata: { name: 'p', namespace: 'here', uid: 'p' },
    spec: { containers: [], resourceClaims },
    status: { resourceClaimStatuses: [{ name: 'a' }] },
  }
  await manager.prepare(pod, signal)
  await expect(saved()).rejects.toThrow('ENOENT')
})

it('all of it is counted and timed under the names that dashboards know', async () => {
  world.putClaim('x', ['p'])
  await world.plug()
  const own = createKubeletMetrics()
  const told: string[] = []
  const dynamic = await openDynamicResources({
    rootDir: join(world.rootDir, 'another'),
    nodeName: 'node-1',
    client: world.api.client,
    driverCame: () => told.push('a driver came'),
    healthChanged: (podUid) => told.push(`devices of ${podUid}`),
    metrics: own,
    clock: systemClock,
    log: silentLogger,
  })
  world.opened.use(dynamic)
  await mkdir(join(world.rootDir, 'another'))
  const plugin = {
    name: driverName,
    endpoint: join(world.rootDir, 'plugins', driverName, 'dra.sock'),
    versions: ['v1.DRAPlugin'],
  }
  await dynamic.drivers.register(plugin, signal)
  await expect.poll(() => told).toEqual(['a driver came'])
  await dynamic.claims.prepare(podWith('p', 'x'), signal)
  await expect(dynamic.claims.prepare(podWith('q', 'x'), signal)).rejects.toThrow('is not allowed to use')
  await dynamic.drivers.deregister(plugin)
  expect(told).toEqual(['a driver came', 'devices of p'])
  const text = await own.registry.metrics()
  for (const line of [
    'dra_operations_duration_seconds_count{operation_name="PrepareResources",is_error="false"} 1',
    'dra_operations_duration_seconds_count{operation_name="PrepareResources",is_error="true"} 1',
    `dra_grpc_operations_duration_seconds_count{driver_name="${driverName}",method_name="/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources",grpc_status_code="OK"} 1`,
    'dra_resource_claims_in_use{driver_name="<any>"} 1',
    `dra_resource_claims_in_use{driver_name="${driverName}"} 1`,
  ]) {
    expect(text).toContain(line)
  }
})
