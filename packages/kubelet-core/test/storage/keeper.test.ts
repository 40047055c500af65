// The CSINode of a node, attachments, and drivers that register, against an API in memory.
import { createCsiDrivers, CsiError, type CsiVolume } from '@nodelet/csi-node'
import { StatusError } from '@nodelet/kube-client'
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import type { CSINode, VolumeAttachment } from 'kubernetes-types/storage/v1.d.ts'
import { beforeEach, describe, expect, test } from 'vitest'
import { systemClock as clock } from '../../src/clock.ts'
import { silentLogger as log } from '../../src/log.ts'
import { createAllocatable } from '../../src/storage/allocatable.ts'
import { AttachLimitError, createAttachments, NotAttachedError } from '../../src/storage/attach.ts'
import { type CsiNodeKeeperOptions, createCsiNodeKeeper } from '../../src/storage/csi-node-keeper.ts'
import { csiPlugins } from '../../src/storage/csi-plugins.ts'
import { createMemoryApi, type MemoryApi } from '../memory-api.ts'

const soon = { interval: 5 }
const never = new AbortController().signal
const [nodePath, csiNodePath] = ['/api/v1/nodes/n', '/apis/storage.k8s.io/v1/csinodes/n']
const info = { nodeId: 'i-1', maxVolumesPerNode: 5, topology: { zone: 'a' } }

let api: MemoryApi
beforeEach(() => {
  api = createMemoryApi()
  api.put(nodePath, { metadata: { name: 'n', uid: 'node-uid' } })
})
const keeper = (ready = (): void => {}, more: Partial<CsiNodeKeeperOptions> = {}) =>
  createCsiNodeKeeper({ client: api.client, nodeName: 'n', ready, failed: () => {}, clock, log, ...more })
/** Time goes as fast as it can, and how long was waited is known. */
function quickClock() {
  const waits: number[] = []
  const after = (ms: number, call: () => void): (() => void) => {
    waits.push(ms)
    const timer = setImmediate(call)
    return () => clearImmediate(timer)
  }
  return { waits, clock: { now: () => waits.reduce((sum, ms) => sum + ms, 0), after } }
}
const there = (): CSINode => api.get(csiNodePath) as CSINode

describe('the CSINode', () => {
  test('is made once the Node is there; until then the node is not ready', async () => {
    let readies = 0
    await using kept = keeper(() => readies++)
    expect(kept.problem()).toBe('CSINode is not yet initialized')
    await kept.settled()
    kept.start()
    await kept.settled()
    expect([kept.problem(), readies]).toEqual([undefined, 1])
    expect(there().metadata?.ownerReferences).toMatchObject([{ kind: 'Node', uid: 'node-uid' }])
  })

  test('of another Node of the name is made anew; one’s own keeps its drivers', async () => {
    const ownerReferences = [{ apiVersion: 'v1', kind: 'Node', name: 'n', uid: 'old' }]
    const drivers = [{ name: 'd', nodeID: 'x' }]
    api.put(csiNodePath, { metadata: { name: 'n', ownerReferences }, spec: { drivers } } as never)
    await using kept = keeper()
    kept.start()
    await kept.initialized
    expect(there().spec.drivers).toEqual([])
    await kept.add('d', info, never)
    await using again = keeper()
    again.start()
    await again.initialized
    expect(there().spec.drivers).toEqual([
      { name: 'd', nodeID: 'i-1', topologyKeys: ['zone'], allocatable: { count: 5 } },
    ])
  })

  test('loses a driver that is gone, whose labels stay', async () => {
    await using kept = keeper()
    kept.start()
    await Promise.all(['d', 'e'].map(async (name) => kept.add(name, info, never)))
    await kept.remove('d', never)
    const { metadata } = api.get(nodePath) ?? {}
    expect([there().spec.drivers.map(({ name }) => name), metadata?.labels]).toEqual([['e'], { zone: 'a' }])
    expect(metadata?.annotations).toEqual({ 'csi.volume.kubernetes.io/nodeid': '{"e":"i-1"}' })
  })
})

describe('the API server', () => {
  const forbidden = (): never => {
    throw new StatusError('/csinodes', { code: 403, reason: 'Forbidden', message: 'no' })
  }
  test('is waited for, a second at a time; then the CSINode is tried for six times, and the kubelet cannot go on', async () => {
    const { waits, clock: quick } = quickClock()
    let asked = 0
    const get: typeof api.client.get = async (resource, ref) => {
      if (++asked < 4) throw new Error('connect ECONNREFUSED')
      return api.client.get(resource, ref)
    }
    const client = { ...api.client, get, create: forbidden }
    const failed = Promise.withResolvers<Error>()
    await using kept = keeper(undefined, { client, failed: failed.resolve, clock: quick })
    kept.start()
    expect((await failed.promise).message).toBe('failed to initialize CSINode after retrying: /csinodes: no')
    expect(waits).toEqual([1000, 1000, 1000, 30, 240, 1920, 15_360, 122_880])
    expect(kept.problem()).toBe('CSINode is not yet initialized')
  })
  test('is told of a driver in four tries', async () => {
    const { waits, clock: quick } = quickClock()
    await using first = keeper()
    first.start()
    await first.initialized
    let refused = 3
    const client = {
      ...api.client,
      update: async (...words: Parameters<typeof api.client.update>) =>
        refused-- > 0 ? forbidden() : api.client.update(...words),
    } as typeof api.client
    await using kept = keeper(undefined, { client, clock: quick })
    await kept.add('d', info, never)
    expect([waits, there().spec.drivers.length]).toEqual([[10, 50, 250], 1])
    refused = 4
    await expect(kept.remove('d', never)).rejects.toThrow('no')
    expect(waits).toHaveLength(6)
  })
})

test('plugins that others say are translated stay in the CSINode', async () => {
  const key = 'storage.alpha.kubernetes.io/migrated-plugins'
  const annotations = { [key]: 'kubernetes.io/rbd,kubernetes.io/cinder' }
  api.put(csiNodePath, { metadata: { name: 'n', annotations }, spec: { drivers: [] } } as never)
  await using kept = keeper()
  kept.start()
  await kept.initialized
  expect(there().metadata?.annotations?.[key]).toBe(
    'kubernetes.io/aws-ebs,kubernetes.io/azure-disk,kubernetes.io/azure-file,kubernetes.io/cinder,kubernetes.io/gce-pd,kubernetes.io/portworx-volume,kubernetes.io/rbd,kubernetes.io/vsphere-volume',
  )
})

describe('how many volumes a node may have', () => {
  const driver = (seconds?: number) =>
    ({ metadata: { name: 'd' }, spec: seconds ? { nodeAllocatableUpdatePeriodSeconds: seconds } : {} }) as never
  const driverPath = '/apis/storage.k8s.io/v1/csidrivers/d'

  async function follow(count: () => number) {
    const opened = new AsyncDisposableStack()
    const kept = opened.use(keeper())
    kept.start()
    await kept.initialized
    await kept.add('d', info, never)
    const timers = new Set<{ ms: number; call: () => void }>()
    const asked: number[] = []
    const nodeInfo = async () => {
      asked.push(count())
      return { ...info, maxVolumesPerNode: count() }
    }
    const allocatable = opened.use(
      createAllocatable({
        client: api.client,
        drivers: { get: () => ({ nodeInfo }) as never },
        keeper: kept,
        clock: {
          now: Date.now,
          after(ms, call) {
            const timer = { ms, call }
            timers.add(timer)
            return () => void timers.delete(timer)
          },
        },
        log,
      }),
    )
    const periods = () => [...timers].map(({ ms }) => ms)
    const pass = () => {
      for (const timer of timers) if (timers.delete(timer)) timer.call()
    }
    return { allocatable, asked, kept, periods, pass, [Symbol.asyncDispose]: async () => opened.disposeAsync() }
  }
  const allocatable = () => there().spec.drivers[0]?.allocatable

  test('is asked for again in each period that the CSIDriver names, and told', async () => {
    let count = 9
    await using world = await follow(() => count)
    world.allocatable.came('d')
    api.put(driverPath, driver(10))
    await expect.poll(world.periods, soon).toEqual([10_000])
    world.pass()
    await expect.poll(allocatable, soon).toEqual({ count: 9 })
    count = 0 // no limit
    await expect.poll(world.periods, soon).toEqual([10_000])
    world.pass()
    await expect.poll(allocatable, soon).toBeUndefined()
    api.put(driverPath, driver(60))
    await expect.poll(world.periods, soon).toEqual([60_000])
    api.put(driverPath, driver())
    await expect.poll(world.periods, soon).toEqual([])
  })

  test('is asked for at once when an attach failed for want of room, of drivers that are asked at all', async () => {
    await using world = await follow(() => 3)
    api.put(driverPath, driver())
    world.allocatable.came('d')
    world.allocatable.exhausted('d')
    api.put(driverPath, driver(3600))
    await expect.poll(world.periods, soon).toEqual([3_600_000])
    expect(world.asked).toEqual([])
    world.allocatable.exhausted('d')
    world.allocatable.exhausted('d')
    await expect.poll(allocatable, soon).toEqual({ count: 3 })
    expect(world.asked).toEqual([3])
    await expect.poll(world.periods, soon).toEqual([3_600_000])
  })

  test('is nobody’s to tell once the driver is gone', async () => {
    await using world = await follow(() => 3)
    api.put(driverPath, driver(10))
    world.allocatable.came('d')
    await expect.poll(world.periods, soon).toEqual([10_000])
    world.allocatable.gone('d')
    expect(world.periods()).toEqual([])
    await world.kept.remove('d', never)
    await world.kept.refresh('d', info, never)
    expect(there().spec.drivers).toEqual([])
  })
})

test('a driver that does not say what the node is to it leaves nothing behind', async () => {
  await using kept = keeper()
  kept.start()
  await kept.add('d', info, never)
  const register = async (): Promise<never> => {
    throw new CsiError('INTERNAL', 'no metadata', 'final')
  }
  const drivers = { register, get: () => undefined, deregister: () => false }
  const plugins = csiPlugins({ drivers, keeper: kept, came() {}, gone() {}, log })
  await expect(plugins.register({ name: 'd', endpoint: '/d', versions: ['1.0.0'] }, never)).rejects.toThrow(
    'no metadata',
  )
  expect([there().spec.drivers, api.get(nodePath)?.metadata?.annotations]).toEqual([[], {}])
})

test('a driver that the API server cannot be told of is not used', async () => {
  const { createDriver } = await import('@nodelet/csi-node/sdk')
  const { mkdtempSync, rmSync } = await import('node:fs')
  const folder = mkdtempSync('/tmp/csi-')
  const driver = createDriver({
    name: 'd',
    version: '1',
    node: { info: () => ({ nodeId: 'i', topology: { zone: 'b' } }), publish: () => {}, unpublish: () => {} },
  })
  const serving = await driver.serve({ endpoint: `${folder}/csi.sock`, register: false })
  try {
    api.put(nodePath, { metadata: { name: 'n', labels: { zone: 'a' } } })
    await using kept = keeper()
    kept.start()
    const drivers = createCsiDrivers()
    const came: string[] = []
    const plugins = csiPlugins({
      drivers,
      keeper: kept,
      came: (name) => came.push(name),
      gone: (name) => came.push(`-${name}`),
      log,
    })
    const plugin = { name: 'd', endpoint: serving.socketPath, versions: ['1.0.0'] }
    await expect(plugins.register(plugin, never)).rejects.toThrow('detected topology value collision')
    expect([drivers.get('d'), came]).toEqual([undefined, []])
    api.put(nodePath, { metadata: { name: 'n', labels: { zone: 'b' } } })
    await plugins.register(plugin, never)
    expect([drivers.get('d')?.name, came]).toEqual(['d', ['d']])
    await plugins.deregister({ ...plugin, endpoint: '/another' })
    expect(there().spec.drivers).toHaveLength(1)
    // A newer one at the same endpoint takes its place: the end of the older one is not its own.
    const newer = { ...plugin, versions: ['1.1.0'] }
    await plugins.register(newer, never)
    await plugins.deregister(plugin)
    expect([drivers.get('d')?.version, there().spec.drivers.length, came.splice(1)]).toEqual(['1.1.0', 1, ['d']])
    await plugins.deregister(newer)
    expect([there().spec.drivers, drivers.get('d'), came]).toEqual([[], undefined, ['d', '-d']])
  } finally {
    await serving.close()
    rmSync(folder, { recursive: true })
  }
})

describe('an attachment', () => {
  const volume = { driver: 'd', volumeHandle: 'h' } as CsiVolume
  const unique = 'kubernetes.io/csi/d^h'
  let node: Node
  let attachment: VolumeAttachment | undefined
  let told = 0
  const attachments = (time = clock) =>
    createAttachments({
      nodeName: 'n',
      objects: { attachment: async () => attachment },
      node: () => node,
      inUse: () => ['kubernetes.io/csi/d^staged'],
      changed: () => told++,
      clock: time,
    })
  beforeEach(() => {
    node = {}
    told = 0
    attachment = { spec: {} as never, status: { attached: true, attachmentMetadata: { lun: '3' } } }
  })
  const attach = (): void => {
    node = { status: { volumesInUse: [unique], volumesAttached: [{ name: unique, devicePath: '' }] } }
  }

  test('is waited for: in use is told, then the node has to have it', async () => {
    const all = attachments()
    const waiting = all.wait(volume, 'uid-1', never)
    expect([all.volumesInUse(), told]).toEqual([[unique, 'kubernetes.io/csi/d^staged'], 1])
    node = { status: { volumesAttached: [{ name: unique, devicePath: '' }] } }
    all.nodeChanged()
    attach()
    all.nodeChanged()
    expect([all.awaited('uid-1'), all.awaited('uid-2')]).toEqual([[unique], []])
    expect(await waiting).toEqual({ lun: '3' })
    expect(all.awaited('uid-1')).toEqual([])
    await all.wait(volume, 'uid-2', never)
    node.status!.volumesInUse = [unique, 'kubernetes.io/csi/d^staged']
    all.release('uid-1')
    expect([all.volumesInUse().length, told]).toEqual([2, 1])
    all.release('uid-2')
    expect([all.volumesInUse().length, told]).toEqual([1, 2])
  })

  test.each<[string, VolumeAttachment | undefined, RegExp]>([
    ['missing', undefined, /^volume attachment csi-[0-9a-f]{64} not found$/],
    [
      'being deleted',
      { metadata: { deletionTimestamp: 'now' as never }, spec: {} as never },
      /^volume attachment is being deleted$/,
    ],
    [
      'failed',
      { spec: {} as never, status: { attached: false, attachError: { message: 'no such disk' } } },
      /^no such disk$/,
    ],
  ])('%s ends the wait', async (_, object, message) => {
    attachment = object
    attach()
    await expect(attachments().wait(volume, 'uid-1', never)).rejects.toThrow(message)
  })

  test('that fails for want of room is an error of its own, of drivers that tell of it', async () => {
    const exhausted: string[] = []
    const attachError = { message: 'too many disks', errorCode: 8 }
    attachment = { spec: {} as never, status: { attached: false, attachError } }
    const all = createAttachments({
      nodeName: 'n',
      objects: { attachment: async () => attachment },
      node: () => node,
      inUse: () => [],
      changed: () => {},
      exhausted: (driver) => exhausted.push(driver),
      clock: quickClock().clock,
    })
    // The node's status has nothing of it.
    await expect(all.wait(volume, 'uid-1', never)).rejects.toThrow(NotAttachedError)
    expect(exhausted).toEqual([])
    const failed = all.wait(volume, 'uid-1', never, { seesLimit: true })
    await expect(failed).rejects.toThrow(new AttachLimitError('too many disks'))
    expect(exhausted).toEqual(['d'])
    attachment = { spec: {} as never, status: { attached: false, attachError: { message: 'busy' } } }
    await expect(all.wait(volume, 'uid-1', never, { seesLimit: true })).rejects.toThrow(NotAttachedError)
  })

  test('that does not come is told in the end; who is aborted waits no more', async () => {
    let nowMs = 0
    const quick = {
      now: () => nowMs,
      after: (ms: number, call: () => void) => (setImmediate(() => ((nowMs += ms), call())), () => {}),
    }
    await expect(attachments(quick).wait(volume, 'uid-1', never)).rejects.toThrow(NotAttachedError)
    expect(nowMs).toBe(123_000)
    const aborting = new AbortController()
    const waiting = attachments().wait(volume, 'uid-1', aborting.signal)
    aborting.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
  })
})
