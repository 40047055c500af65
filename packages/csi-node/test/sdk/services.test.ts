// Every function of a driver, called over its socket: what it gets, and what callers get of its answer.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { credentials, type ServiceError, status } from '@grpc/grpc-js'
import { createCsiDrivers, type CsiDriver } from '@nodelet/csi-node'
import { createDriver, type Driver, type ServingDriver } from '@nodelet/csi-node/sdk'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ControllerClient, type ControllerGetCapabilitiesResponse, IdentityClient } from '../../src/gen/csi.ts'

const capability = {
  kind: 'mount',
  accessMode: 'SINGLE_NODE_WRITER',
  fsType: 'ext4',
  mountFlags: [],
  volumeMountGroup: '',
}
const wireCapability = { mount: { fsType: 'ext4', mountFlags: [], volumeMountGroup: '' }, accessMode: { mode: 1 } }
const volume = {
  volumeId: 'v',
  capacityBytes: 2 ** 40,
  volumeContext: { a: 'b' },
  contentSource: { kind: 'snapshot', id: 's' },
  topology: [{ zone: 'z' }],
} as const
const wireVolume = {
  volumeId: 'v',
  capacityBytes: BigInt(2 ** 40),
  volumeContext: { a: 'b' },
  contentSource: { snapshot: { snapshotId: 's' } },
  accessibleTopology: [{ segments: { zone: 'z' } }],
}
const volumeStatus = { publishedNodeIds: ['n'], condition: { abnormal: true, message: 'old' } }
const wireStatus = { publishedNodeIds: ['n'], volumeCondition: { abnormal: true, message: 'old' } }
const createdAt = new Date(1_700_000_000_000)
const snapshot = { snapshotId: 's', sourceVolumeId: 'v', sizeBytes: 5, createdAt, isReady: true }
const wireSnapshot = { snapshotId: 's', sourceVolumeId: 'v', sizeBytes: 5n, creationTime: createdAt, readyToUse: true }

/** What functions got last, by their name. */
const got: Record<string, unknown> = {}
const gets =
  <Answer>(name: string, answer: Answer) =>
  (request: object): Answer => {
    got[name] = request
    return answer
  }

const driver: Driver = createDriver({
  name: 'all.example.com',
  version: '1.2.3',
  identity: { manifest: { commit: 'c' }, ready: () => false },
  hasTopology: true,
  node: {
    info: () => ({ nodeId: 'n', maxVolumes: 7, topology: { zone: 'z' } }),
    stage: gets('stage', undefined),
    unstage: gets('unstage', undefined),
    publish: gets('publish', undefined),
    unpublish: gets('unpublish', undefined),
    stats: gets('stats', {
      usage: [{ unit: 'INODES', total: 3, available: 1, used: 2 }],
      condition: { abnormal: false, message: 'fine' },
    }),
    expand: gets('nodeExpand', { capacityBytes: 4096 }),
    reportsCondition: true,
    multiWriter: true,
    mountGroup: true,
  },
  controller: {
    create: gets('create', volume),
    delete: gets('delete', undefined),
    validate: (request) => (request.volumeId === 'v' ? undefined : 'not so'),
    publish: gets('attach', { device: 'sda' }),
    unpublish: gets('detach', undefined),
    list: gets('list', { entries: [{ volume, status: volumeStatus }], nextToken: '2' }),
    get: gets('get', { volume, status: volumeStatus }),
    capacity: gets('capacity', { availableBytes: 9, maximumVolumeBytes: 8, minimumVolumeBytes: 1 }),
    expand: gets('expand', { capacityBytes: 12, nodeExpansionRequired: true }),
    createSnapshot: gets('createSnapshot', snapshot),
    deleteSnapshot: gets('deleteSnapshot', undefined),
    listSnapshots: gets('listSnapshots', { entries: [snapshot] }),
    getSnapshot: gets('getSnapshot', snapshot),
    modify: gets('modify', undefined),
    clones: true,
    listsPublishedNodes: true,
    publishesReadOnly: true,
    reportsCondition: true,
    multiWriter: true,
  },
})

let folder: string
let serving: ServingDriver
let controller: ControllerClient
let identity: IdentityClient
let node: CsiDriver
const signal = AbortSignal.timeout(60_000)

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'csi-'))
  serving = await driver.serve({ rootDir: folder, register: false })
  const address = `unix://${serving.socketPath}`
  controller = new ControllerClient(address, credentials.createInsecure())
  identity = new IdentityClient(address, credentials.createInsecure())
  const drivers = createCsiDrivers()
  const info = await drivers.register({ name: driver.name, endpoint: serving.socketPath, versions: ['1.0.0'] }, signal)
  expect(info).toMatchObject({ nodeId: 'n', maxVolumesPerNode: 7, topology: { zone: 'z' } })
  node = drivers.get(driver.name)!
})
afterAll(async () => {
  controller.close()
  identity.close()
  await serving.close()
  rmSync(folder, { recursive: true })
})

type Client = ControllerClient | IdentityClient
async function ask<Answer>(client: Client, method: string, request: object): Promise<Answer> {
  const call = Reflect.get(client, method) as (
    request: object,
    reply: (error: ServiceError | null, answer: Answer) => void,
  ) => void
  return new Promise((resolve, reject) =>
    call.call(client, request, (error, answer) => (error ? reject(error) : resolve(answer))),
  )
}

test('identity: who it is, what it can do, whether it is ready', async () => {
  expect(await ask(identity, 'getPluginInfo', {})).toEqual({
    name: 'all.example.com',
    vendorVersion: '1.2.3',
    manifest: { commit: 'c' },
  })
  expect(await ask(identity, 'getPluginCapabilities', {})).toMatchObject({
    capabilities: [{ service: { type: 1 } }, { service: { type: 2 } }, { volumeExpansion: { type: 1 } }],
  })
  expect(await ask(identity, 'probe', {})).toEqual({ ready: false })
})

test('each function is a capability', async () => {
  const { capabilities } = await ask<ControllerGetCapabilitiesResponse>(controller, 'controllerGetCapabilities', {})
  const types = capabilities.map(({ rpc }) => Number(rpc?.type))
  expect(types.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
  expect(new Set(Object.values(await node.capabilities(signal)))).toEqual(new Set([true]))
})

test('the node side, as a kubelet calls it', async () => {
  const asked = { volumeMode: 'Filesystem', accessMode: 'SINGLE_NODE_WRITER', fsType: 'ext4' } as const
  const common = { volumeId: 'v', capability: asked, volumeContext: { a: 'b' }, secrets: { key: 'word' } }
  await node.stage({ ...common, stagingTargetPath: '/s', publishContext: { device: 'sda' } }, signal)
  const plain = { volumeId: 'v', capability, volumeContext: { a: 'b' }, secrets: { key: 'word' } }
  expect(got['stage']).toEqual({ ...plain, stagingPath: '/s', publishContext: { device: 'sda' } })
  await node.publish({ ...common, stagingTargetPath: '/s', targetPath: '/t', readonly: true }, signal)
  expect(got['publish']).toEqual({ ...plain, stagingPath: '/s', targetPath: '/t', readOnly: true, publishContext: {} })
  expect(await node.stats({ volumeId: 'v', volumePath: '/t' }, signal)).toEqual({
    inodes: { total: 3, available: 1, used: 2 },
    condition: { abnormal: false, message: 'fine' },
  })
  expect(await node.expand({ volumeId: 'v', volumePath: '/t', requiredBytes: 4000 }, signal)).toBe(4096)
  expect(got['nodeExpand']).toMatchObject({ volumePath: '/t', range: { requiredBytes: 4000 }, capability: undefined })
  await node.unpublish({ volumeId: 'v', targetPath: '/t' }, signal)
  await node.unstage({ volumeId: 'v', stagingTargetPath: '/s' }, signal)
  expect([got['unpublish'], got['unstage']]).toEqual([
    { volumeId: 'v', targetPath: '/t' },
    { volumeId: 'v', stagingPath: '/s' },
  ])
})

const maps = { secrets: {}, parameters: {}, mutableParameters: {}, volumeContext: {} }

test.each<[rpc: string, request: object, name: string, plain: object, answer: object]>([
  [
    'createVolume',
    {
      ...maps,
      name: 'one',
      capacityRange: { requiredBytes: 5n, limitBytes: 9n },
      volumeCapabilities: [wireCapability],
      volumeContentSource: { volume: { volumeId: 'w' } },
      accessibilityRequirements: { requisite: [{ segments: { zone: 'z' } }], preferred: [] },
    },
    'create',
    {
      name: 'one',
      range: { requiredBytes: 5, limitBytes: 9 },
      capabilities: [capability],
      contentSource: { kind: 'volume', id: 'w' },
      topology: { requisite: [{ zone: 'z' }], preferred: [] },
    },
    { volume: wireVolume },
  ],
  ['deleteVolume', { ...maps, volumeId: 'v' }, 'delete', { volumeId: 'v' }, {}],
  [
    'controllerPublishVolume',
    { ...maps, volumeId: 'v', nodeId: 'n', volumeCapability: wireCapability, readonly: true },
    'attach',
    { volumeId: 'v', nodeId: 'n', capability, readOnly: true },
    { publishContext: { device: 'sda' } },
  ],
  [
    'controllerUnpublishVolume',
    { ...maps, volumeId: 'v', nodeId: '' },
    'detach',
    { volumeId: 'v', nodeId: undefined },
    {},
  ],
  [
    'listVolumes',
    { maxEntries: 1, startingToken: '1' },
    'list',
    { maxEntries: 1, startingToken: '1' },
    { entries: [{ volume: wireVolume, status: wireStatus }], nextToken: '2' },
  ],
  ['controllerGetVolume', { volumeId: 'v' }, 'get', { volumeId: 'v' }, { volume: wireVolume, status: wireStatus }],
  [
    'getCapacity',
    { ...maps, volumeCapabilities: [], accessibleTopology: { segments: { zone: 'z' } } },
    'capacity',
    { capabilities: [], topology: { zone: 'z' } },
    { availableCapacity: 9n, maximumVolumeSize: 8n, minimumVolumeSize: 1n },
  ],
  [
    'controllerExpandVolume',
    { ...maps, volumeId: 'v', capacityRange: { requiredBytes: 11n, limitBytes: 0n } },
    'expand',
    { volumeId: 'v', range: { requiredBytes: 11 } },
    { capacityBytes: 12n, nodeExpansionRequired: true },
  ],
  [
    'createSnapshot',
    { ...maps, name: 'one', sourceVolumeId: 'v' },
    'createSnapshot',
    { name: 'one', sourceVolumeId: 'v' },
    { snapshot: wireSnapshot },
  ],
  ['deleteSnapshot', { ...maps, snapshotId: 's' }, 'deleteSnapshot', { snapshotId: 's' }, {}],
  [
    'listSnapshots',
    { ...maps, maxEntries: 0, startingToken: '', sourceVolumeId: 'v', snapshotId: '' },
    'listSnapshots',
    { maxEntries: undefined, sourceVolumeId: 'v' },
    { entries: [{ snapshot: wireSnapshot }], nextToken: '' },
  ],
  ['getSnapshot', { ...maps, snapshotId: 's' }, 'getSnapshot', { snapshotId: 's' }, { snapshot: wireSnapshot }],
  ['controllerModifyVolume', { ...maps, volumeId: 'v' }, 'modify', { volumeId: 'v', mutableParameters: {} }, {}],
])('%s', async (rpc, request, name, plain, answer) => {
  expect(await ask(controller, rpc, request)).toMatchObject(answer)
  expect(got[name]).toMatchObject(plain)
})

test('capabilities are confirmed, or it is told why not', async () => {
  const request = { ...maps, volumeId: 'v', volumeCapabilities: [wireCapability] }
  expect(await ask(controller, 'validateVolumeCapabilities', request)).toMatchObject({
    confirmed: { volumeCapabilities: [wireCapability] },
  })
  expect(await ask(controller, 'validateVolumeCapabilities', { ...request, volumeId: 'w' })).toMatchObject({
    confirmed: undefined,
    message: 'not so',
  })
})

test.each([
  [
    'createVolume',
    { ...maps, name: 'one', volumeCapabilities: [] },
    'INVALID_ARGUMENT',
    'volume_capabilities is missing',
  ],
  [
    'createVolume',
    {
      ...maps,
      name: 'one',
      volumeCapabilities: [wireCapability],
      capacityRange: { requiredBytes: 2n ** 60n, limitBytes: 0n },
    },
    'OUT_OF_RANGE',
    'capacity_range.required_bytes',
  ],
  ['controllerExpandVolume', { ...maps, volumeId: 'v' }, 'INVALID_ARGUMENT', 'capacity_range is missing'],
  ['listVolumes', { maxEntries: -1, startingToken: '' }, 'INVALID_ARGUMENT', 'max_entries -1'],
] as const)('%s with less than it needs is refused', async (rpc, request, code, message) => {
  await expect(ask(controller, rpc, request)).rejects.toMatchObject({
    code: status[code],
    details: expect.stringContaining(message),
  })
})
