// The controller side of a driver, as provisioners, attachers and resizers call it.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CsiController, openController } from '@nodelet/csi-node/controller'
import { createDriver, CsiError, type ServingDriver } from '@nodelet/csi-node/sdk'
import { afterAll, beforeAll, expect, test } from 'vitest'

const signal = AbortSignal.timeout(60_000)
const got: Record<string, object> = {}
let answered = { volumeId: 'v', capacityBytes: 7 }

const driver = createDriver({
  name: 'disk.example.com',
  version: '1.0.0',
  hasTopology: true,
  node: { info: () => ({ nodeId: 'n' }), publish: () => undefined, unpublish: () => undefined },
  controller: {
    create(request) {
      got['create'] = request
      const { contentSource } = request
      return {
        ...answered,
        volumeContext: { a: 'b' },
        topology: [{ zone: 'z' }],
        ...(contentSource && { contentSource }),
      }
    },
    delete(request) {
      got['delete'] = request
      throw new CsiError('FAILED_PRECONDITION', `in use, by ${request.secrets['password']}`)
    },
    validate: () => undefined,
    publish: (request) => ((got['publish'] = request), { lun: '1' }),
    unpublish: (request) => void (got['unpublish'] = request),
    expand: (request) => ((got['expand'] = request), { capacityBytes: 9, nodeExpansionRequired: true }),
    clones: true,
  },
})

let folder = ''
let serving: ServingDriver
let controller: CsiController
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'csi-'))
  serving = await driver.serve({ rootDir: folder, register: false })
  controller = openController({ name: driver.name, endpoint: serving.socketPath })
})
afterAll(async () => {
  await serving.close()
  rmSync(folder, { recursive: true })
})

const mount = { volumeMode: 'Filesystem', accessMode: 'SINGLE_NODE_WRITER', fsType: 'ext4' } as const
const asMount = {
  kind: 'mount',
  accessMode: 'SINGLE_NODE_WRITER',
  fsType: 'ext4',
  mountFlags: [],
  volumeMountGroup: '',
}

test('what it can do', async () => {
  expect(await controller.capabilities(signal)).toEqual({
    controller: true,
    topology: true,
    createDelete: true,
    publish: true,
    publishReadonly: false,
    expand: true,
    clone: true,
    singleNodeMultiWriter: false,
  })
})

test('a driver without a controller can nothing', async () => {
  const plain = createDriver({
    name: 'plain.example.com',
    version: '1',
    node: { info: () => ({ nodeId: 'n' }), publish: () => undefined, unpublish: () => undefined },
  })
  await using other = await plain.serve({ rootDir: folder, register: false })
  const can = await openController({ name: plain.name, endpoint: other.socketPath }).capabilities(signal)
  expect(new Set(Object.values(can))).toEqual(new Set([false]))
})

test('a volume is made, published, unpublished, enlarged', async () => {
  const topology = { requisite: [{ zone: 'z' }], preferred: [] }
  const request = {
    name: 'one',
    requiredBytes: 5,
    limitBytes: 8,
    capabilities: [mount, { volumeMode: 'Block', accessMode: 'MULTI_NODE_MULTI_WRITER' }] as const,
    parameters: { tier: 'gold' },
    topology,
    sourceVolumeId: 'w',
    secrets: { password: 'p' },
  }
  expect(await controller.createVolume(request, signal)).toEqual({
    volumeId: 'v',
    capacityBytes: 7,
    volumeContext: { a: 'b' },
    topology: [{ zone: 'z' }],
    sourceVolumeId: 'w',
  })
  expect(got['create']).toEqual({
    name: 'one',
    range: { requiredBytes: 5, limitBytes: 8 },
    capabilities: [asMount, { kind: 'block', accessMode: 'MULTI_NODE_MULTI_WRITER' }],
    parameters: { tier: 'gold' },
    mutableParameters: {},
    secrets: { password: 'p' },
    contentSource: { kind: 'volume', id: 'w' },
    topology,
  })
  const published = { volumeId: 'v', nodeId: 'n', capability: mount, readonly: true, volumeContext: { a: 'b' } }
  expect(await controller.publishVolume(published, signal)).toEqual({ lun: '1' })
  expect(got['publish']).toEqual({
    volumeId: 'v',
    nodeId: 'n',
    capability: asMount,
    readOnly: true,
    volumeContext: { a: 'b' },
    secrets: {},
  })
  await controller.unpublishVolume({ volumeId: 'v', nodeId: 'n' }, signal)
  expect(got['unpublish']).toEqual({ volumeId: 'v', nodeId: 'n', secrets: {} })
  expect(await controller.expandVolume({ volumeId: 'v', requiredBytes: 8 }, signal)).toEqual({
    capacityBytes: 9,
    nodeExpansionRequired: true,
  })
  expect(got['expand']).toMatchObject({ volumeId: 'v', range: { requiredBytes: 8 }, capability: undefined })
})

test('what the driver refuses is told without secrets; wrong requests are not sent', async () => {
  const secrets = { password: 'hunter2' }
  await expect(controller.deleteVolume({ volumeId: 'v', secrets }, signal)).rejects.toMatchObject({
    code: 'FAILED_PRECONDITION',
    kind: 'final',
    message: 'rpc error: code = FailedPrecondition desc = in use, by <masked>',
  })
  expect(got['delete']).toEqual({ volumeId: 'v', secrets })
  await expect(controller.deleteVolume({ volumeId: '' }, signal)).rejects.toMatchObject({
    kind: 'transient',
    message: 'volumeId: must not be empty',
  })
  const gone = openController({ name: 'gone', endpoint: join(folder, 'gone.sock') })
  await expect(gone.capabilities(signal)).rejects.toMatchObject({ code: 'UNAVAILABLE', kind: 'uncertain' })
})

test('an expansion that came out too small is no answer', async () => {
  await expect(controller.expandVolume({ volumeId: 'v', requiredBytes: 10 }, signal)).rejects.toMatchObject({
    code: 'INTERNAL',
    kind: 'uncertain',
    message: 'ControllerExpandVolume: invalid answer: capacity_bytes is 9: less than 10',
  })
})

test.for<[field: string, answer: typeof answered]>([
  ['CreateVolume: invalid answer: volume_id is empty', { volumeId: '', capacityBytes: 1 }],
  ['CreateVolume: invalid answer: capacity_bytes is -1: must not be negative', { volumeId: 'v', capacityBytes: -1 }],
])('%s', async ([message, answer]) => {
  const before = answered
  answered = answer
  const made = controller.createVolume({ name: 'one', requiredBytes: 5, capabilities: [mount] }, signal)
  await expect(made).rejects.toMatchObject({ code: 'INTERNAL', kind: 'uncertain', message })
  answered = before
})
