// The CSINode of a node, attachments, and drivers that register, against an API in memory.
import { createCsiDrivers, type CsiVolume } from '@nodelet/csi-node'
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import type { CSINode, VolumeAttachment } from 'kubernetes-types/storage/v1.d.ts'
import { beforeEach, describe, expect, test } from 'vitest'
import { systemClock as clock } from '../../src/clock.ts'
import { silentLogger as log } from '../../src/log.ts'
import { createAttachments, NotAttachedError } from '../../src/storage/attach.ts'
import { createCsiNodeKeeper } from '../../src/storage/csi-node-keeper.ts'
import { csiPlugins } from '../../src/storage/csi-plugins.ts'
import { createMemoryApi, type MemoryApi } from '../memory-api.ts'

const never = new AbortController().signal
const [nodePath, csiNodePath] = ['/api/v1/nodes/n', '/apis/storage.k8s.io/v1/csinodes/n']
const info = { nodeId: 'i-1', maxVolumesPerNode: 5, topology: { zone: 'a' } }

let api: MemoryApi
beforeEach(() => {
  api = createMemoryApi()
  api.put(nodePath, { metadata: { name: 'n', uid: 'node-uid' } })
})
const keeper = (ready = (): void => {}) => createCsiNodeKeeper({ client: api.client, nodeName: 'n', ready, clock, log })
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
    const plugins = csiPlugins({ drivers, keeper: kept, came: (name) => came.push(name), log })
    const plugin = { name: 'd', endpoint: serving.socketPath, versions: ['1.0.0'] }
    await expect(plugins.register(plugin, never)).rejects.toThrow('detected topology value collision')
    expect([drivers.get('d'), came]).toEqual([undefined, []])
    api.put(nodePath, { metadata: { name: 'n', labels: { zone: 'b' } } })
    await plugins.register(plugin, never)
    expect([drivers.get('d')?.name, came]).toEqual(['d', ['d']])
    await plugins.deregister({ ...plugin, endpoint: '/another' })
    expect(there().spec.drivers).toHaveLength(1)
    await plugins.deregister(plugin)
    expect([there().spec.drivers, drivers.get('d')]).toEqual([[], undefined])
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
    expect(await waiting).toEqual({ lun: '3' })
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
