// A real driver on its socket, and a kubelet's side of registration.
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { readMountInfo, unmount } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { tmpfs } from '../../../../examples/csi-tmpfs/tmpfs.ts'
import {
  ControllerClient,
  CreateVolumeRequest,
  NodeClient,
  NodePublishVolumeRequest,
  VolumeCapability_AccessMode_Mode as Mode,
} from '../../src/gen/csi.ts'
import { type PluginInfo, RegistrationClient, serveRegistration } from '../../src/registration/index.ts'
import { createDriver, CsiError, type PublishRequest } from '../../src/sdk/index.ts'
import { createLocks } from '../../src/sdk/locks.ts'
import { masked } from '../../src/sdk/log.ts'

let folder: string
const opened: { close(): void }[] = []
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'csi-'))
})
afterEach(async () => {
  for (const client of opened.splice(0)) client.close()
  const left = await readMountInfo('self', { below: folder })
  for (const { mountPoint } of left.toReversed()) unmount(mountPoint, { detach: true })
  rmSync(folder, { recursive: true })
})

type Unary<Q, A> = (request: Q, reply: (error: ServiceError | null, answer: A) => void) => unknown
const ask = async <Q, A>(call: Unary<Q, A>, request: Q): Promise<A> =>
  new Promise((resolve, reject) => call(request, (error, answer) => (error ? reject(error) : resolve(answer))))

function nodeOf(path: string): NodeClient {
  const client = new NodeClient(`unix://${path}`, credentials.createInsecure())
  opened.push(client)
  return client
}

const mount = { mount: {}, accessMode: { mode: Mode.SINGLE_NODE_WRITER } }
const publishing = (more: object = {}) =>
  NodePublishVolumeRequest.fromPartial({
    volumeId: 'one',
    targetPath: join(folder, 'target'),
    volumeCapability: mount,
    volumeContext: { size: '4m' },
    ...more,
  })
const publish = async (node: NodeClient, request: NodePublishVolumeRequest) =>
  ask(node.nodePublishVolume.bind(node) as Unary<NodePublishVolumeRequest, object>, request)

test('the tutorial shows the example as it is, whole and in order', () => {
  const root = join(import.meta.dirname, '../../../..')
  const page = readFileSync(join(root, 'docs/csi-driver.md'), 'utf8')
  const blocks = [...page.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code = '']) => code.trim())
  const file = readFileSync(join(root, 'examples/csi-tmpfs/tmpfs.ts'), 'utf8')
  expect(blocks.join('\n\n').split('\n')).toEqual(file.trim().split('\n').slice(1))
})

test("the tutorial's test runs as it is printed, beside the example", async () => {
  const root = join(import.meta.dirname, '../../../..')
  const page = readFileSync(join(root, 'docs/csi-driver.md'), 'utf8')
  const [, code = ''] = /^```js\n([\s\S]*?)^```$/m.exec(page) ?? []
  const beside = join(root, 'examples/csi-tmpfs', `tutorial-${process.pid}.test.ts`)
  writeFileSync(beside, code)
  try {
    const args = ['--conditions=@nodelet/source', '--test', '--test-reporter=tap', beside]
    const { NODE_TEST_CONTEXT: _context, ...env } = process.env
    const { stdout } = await promisify(execFile)(process.execPath, args, { env })
    expect(stdout).toMatch(/^# pass [1-9]/m)
    expect(stdout).toMatch(/^# fail 0$/m)
  } finally {
    rmSync(beside)
  }
})

test('the example mounts memory of the size, twice alike, and takes it away, twice alike', async () => {
  await using serving = await tmpfs.serve({ rootDir: folder })
  const node = nodeOf(serving.socketPath)
  await publish(node, publishing())
  await publish(node, publishing())
  const target = join(folder, 'target')
  expect(await readMountInfo('self', { below: target })).toMatchObject([
    { type: 'tmpfs', superOptions: expect.arrayContaining(['size=4096k']) },
  ])
  await expect(publish(node, publishing({ readonly: true }))).rejects.toMatchObject({ code: status.ALREADY_EXISTS })
  for (let times = 0; times < 2; times++) {
    await ask<object, object>(node.nodeUnpublishVolume.bind(node) as never, { volumeId: 'one', targetPath: target })
    expect(existsSync(target)).toBe(false)
  }
})

test.each<[string, object, RegExp]>([
  ['no volume', { volumeId: '' }, /volume_id is missing/],
  ['a long volume', { volumeId: 'x'.repeat(129) }, /volume_id: 129 bytes/],
  ['no target', { targetPath: '' }, /target_path is missing/],
  ['a relative target', { targetPath: 'a/b' }, /target_path "a\/b"/],
  ['steps up', { targetPath: '/a/../b' }, /target_path "\/a\/..\/b"/],
  ['no capability', { volumeCapability: undefined }, /volume_capability is missing/],
  ['no mode', { volumeCapability: { mount: {} } }, /access_mode/],
  ['neither block nor mount', { volumeCapability: { accessMode: mount.accessMode } }, /block or mount is missing/],
  ['a large map', { volumeContext: { a: 'x'.repeat(4096) } }, /volume_context: 4097 bytes/],
  ['a strange key', { secrets: { 'a/b': 'hidden' } }, /secrets: the key "a\/b"/],
])('%s is refused before the driver sees it', async (_name, more, message) => {
  await using serving = await tmpfs.serve({ rootDir: folder, register: false })
  const refusal = publish(nodeOf(serving.socketPath), publishing(more))
  await expect(refusal).rejects.toMatchObject({
    code: status.INVALID_ARGUMENT,
    details: expect.stringMatching(message),
  })
})

test.each(['volumeContext', 'secrets'])('service account tokens in %s may be many', async (field) => {
  await using serving = await tmpfs.serve({ rootDir: folder, register: false })
  const tokens = { 'csi.storage.k8s.io/serviceAccount.tokens': 'x'.repeat(5000) }
  await publish(nodeOf(serving.socketPath), publishing({ [field]: tokens }))
})

test('registers, comes back when the folder is wiped, and ends with the words of a kubelet that refuses it', async () => {
  await using serving = await tmpfs.serve({ rootDir: folder })
  const socket = join(folder, 'plugins_registry', `${tmpfs.name}-reg.sock`)
  rmSync(join(folder, 'plugins_registry'), { recursive: true })
  await expect.poll(() => existsSync(socket)).toBe(true)
  const client = new RegistrationClient(`unix://${socket}`, credentials.createInsecure())
  opened.push(client)
  const patient = new Metadata({ waitForReady: true })
  const info = await new Promise<PluginInfo>((resolve, reject) => {
    client.getInfo({}, patient, (error, answer) => (error ? reject(error) : resolve(answer)))
  })
  expect(info).toMatchObject({ type: 'CSIPlugin', endpoint: serving.socketPath, supportedVersions: ['1.0.0'] })
  await ask<object, object>(client.notifyRegistrationStatus.bind(client) as never, {
    pluginRegistered: false,
    error: 'not here',
  })
  await expect(serving.ended).rejects.toThrow('not here')
})

test('ends when the folder of its kubelet is gone, and does not make another', async () => {
  const rootDir = join(folder, 'kubelet')
  await using serving = await tmpfs.serve({ rootDir })
  renameSync(rootDir, join(folder, 'elsewhere'))
  await expect(serving.ended).rejects.toThrow(`the kubelet's folder ${rootDir} is gone`)
  await serving.close()
  expect(existsSync(rootDir)).toBe(false)
})

test('where no socket can be made, nothing is left that watches', async () => {
  const watchers = (): number => process.getActiveResourcesInfo().filter((one) => one === 'FSEventWrap').length
  const before = watchers()
  const name = 'x'.repeat(100)
  const info = { type: 'CSIPlugin', name, endpoint: '/x', supportedVersions: ['1.0.0'] }
  const refused = serveRegistration({ ...info, rootDir: folder, onError: () => {} })
  await expect(refused).rejects.toThrow(`cannot listen on ${folder}/plugins_registry/${name}-reg.sock`)
  await expect.poll(watchers).toBe(before)
})

test('a second call for a volume is ABORTED while the first goes on, as is a copy of it', async () => {
  const { promise: going, resolve: go } = Promise.withResolvers<PublishRequest>()
  const { promise: end, resolve: ends } = Promise.withResolvers<void>()
  const driver = createDriver({
    name: 'slow.example.com',
    version: '1',
    node: {
      info: () => ({ nodeId: 'n' }),
      async publish(request) {
        go(request)
        await end
      },
      unpublish: () => undefined,
    },
    controller: {
      clones: true,
      create: ({ name }) => ({ volumeId: name }),
      delete: () => undefined,
      validate: () => undefined,
    },
  })
  await using serving = await driver.serve({ rootDir: folder, register: false })
  const node = nodeOf(serving.socketPath)
  const controller = new ControllerClient(`unix://${serving.socketPath}`, credentials.createInsecure())
  opened.push(controller)
  const copy = async (volumeId: string): Promise<unknown> => {
    const volumeContentSource = { volume: { volumeId } }
    const request = { name: 'copy', volumeCapabilities: [mount], volumeContentSource }
    const create = controller.createVolume.bind(controller) as Unary<CreateVolumeRequest, object>
    return ask(create, CreateVolumeRequest.fromPartial(request))
  }
  const first = publish(node, publishing())
  expect(await going).toMatchObject({ capability: { kind: 'mount', accessMode: 'SINGLE_NODE_WRITER' } })
  await expect(publish(node, publishing())).rejects.toMatchObject({ code: status.ABORTED })
  // Its last writes may be on their way.
  await expect(copy('one')).rejects.toMatchObject({ code: status.ABORTED })
  expect(await copy('another')).toMatchObject({ volume: { volumeId: 'copy' } })
  ends()
  await first
})

test('an error of many words is told by its code, and by as many of them as gRPC carries', async () => {
  const driver = createDriver({
    name: 'wordy.example.com',
    version: '1',
    node: {
      info: () => ({ nodeId: 'n' }),
      publish() {
        throw new CsiError('OUT_OF_RANGE', `x${'😀'.repeat(100_000)}`)
      },
      unpublish: () => undefined,
    },
  })
  await using serving = await driver.serve({ rootDir: folder, register: false })
  await expect(publish(nodeOf(serving.socketPath), publishing())).rejects.toMatchObject({
    code: status.OUT_OF_RANGE,
    details: expect.stringMatching(/^x(😀){2000,2100}\uFFFD? …$/u) as string,
  })
})

test('a snapshot is not deleted while volumes are made of it, several at a time', async () => {
  const { promise: end, resolve: ends } = Promise.withResolvers<void>()
  const began: string[] = []
  const driver = createDriver({
    name: 'slow.example.com',
    version: '1',
    node: { info: () => ({ nodeId: 'n' }), publish: () => undefined, unpublish: () => undefined },
    controller: {
      async create({ name }) {
        began.push(name)
        await end
        return { volumeId: name }
      },
      delete: () => undefined,
      validate: () => undefined,
      createSnapshot: () => ({
        snapshotId: 's',
        sourceVolumeId: 'v',
        sizeBytes: 0,
        createdAt: new Date(0),
        isReady: true,
      }),
      deleteSnapshot: () => undefined,
    },
  })
  await using serving = await driver.serve({ rootDir: folder, register: false })
  const controller = new ControllerClient(`unix://${serving.socketPath}`, credentials.createInsecure())
  opened.push(controller)
  const create = controller.createVolume.bind(controller) as Unary<CreateVolumeRequest, object>
  const remove = controller.deleteSnapshot.bind(controller) as Unary<object, object>
  const volumeContentSource = { snapshot: { snapshotId: 's' } }
  const restored = ['one', 'two'].map(async (name) =>
    ask(create, CreateVolumeRequest.fromPartial({ name, volumeCapabilities: [mount], volumeContentSource })),
  )
  await expect.poll(() => began.length).toBe(2)
  const deletion = { snapshotId: 's', secrets: {} }
  await expect(ask(remove, deletion)).rejects.toMatchObject({ code: status.ABORTED })
  ends()
  await Promise.all(restored)
  await ask(remove, deletion)
})

test('locks go with the work, also when it fails', async () => {
  const locks = createLocks()
  const fail = async () => locks.hold(['a'], async () => Promise.reject(new Error('no')))
  await expect(fail()).rejects.toThrow('no')
  expect(await locks.hold(['a'], async () => 1)).toBe(1)
  const shares = async (inner: () => Promise<unknown>) => locks.hold([], inner, ['a'])
  const fails = shares(async () => shares(fail))
  await expect(fails).rejects.toThrow('an operation on a is already in progress')
  await shares(async () => {
    await shares(async () => undefined)
    await expect(fail()).rejects.toThrow('an operation on a is already in progress')
  })
  await expect(locks.hold(['a'], async () => shares(async () => undefined))).rejects.toThrow('in progress')
  expect(await locks.hold(['a'], async () => 2)).toBe(2)
})

test('secrets and mount flags are not logged', () => {
  const request = { volumeId: 'v', secrets: { key: 'hidden' }, capability: { mountFlags: ['password=hidden'] } }
  expect(JSON.stringify(masked(request))).not.toContain('hidden')
  expect(masked(request)).toMatchObject({ volumeId: 'v', secrets: { key: '<masked>' } })
})

test('a refused call is answered, whatever its log makes of it, and numbers in it can be written as JSON', async () => {
  const lines: string[] = []
  const log = (fields: object): void => void lines.push(JSON.stringify(fields))
  const driver = createDriver({
    name: 'logged.example.com',
    version: '1',
    log: { error: log, warn: log, info: log, debug: log },
    node: { info: () => ({ nodeId: 'n' }), publish: () => undefined, unpublish: () => undefined },
    controller: { create: ({ name }) => ({ volumeId: name }), delete: () => undefined, validate: () => undefined },
  })
  await using serving = await driver.serve({ rootDir: folder, register: false })
  const controller = new ControllerClient(`unix://${serving.socketPath}`, credentials.createInsecure())
  opened.push(controller)
  const create = controller.createVolume.bind(controller) as Unary<CreateVolumeRequest, object>
  const request = CreateVolumeRequest.fromPartial({ capacityRange: { requiredBytes: 5n }, volumeCapabilities: [mount] })
  await expect(ask(create, request)).rejects.toMatchObject({
    code: status.INVALID_ARGUMENT,
    details: 'name is missing',
  })
  expect(lines.at(-1)).toContain('"requiredBytes":5')
})

test.each<[string, unknown, string]>([
  ['a size that is none', { volumeId: 'v', capacityBytes: 1.5 }, 'capacityBytes 1.5: must be a whole number'],
  ['a text as size', { volumeId: 'v', capacityBytes: '5Gi' }, 'capacityBytes "5Gi": must be a whole number'],
  ['nothing in it', undefined, "Cannot destructure property 'volumeId'"],
])('an answer with %s is INTERNAL, and its field is named', async (_name, answer, details) => {
  const driver = createDriver({
    name: 'odd.example.com',
    version: '1',
    node: { info: () => ({ nodeId: '' }), publish: () => undefined, unpublish: () => undefined },
    controller: { create: () => answer as { volumeId: string }, delete: () => undefined, validate: () => undefined },
  })
  await using serving = await driver.serve({ rootDir: folder, register: false })
  const controller = new ControllerClient(`unix://${serving.socketPath}`, credentials.createInsecure())
  opened.push(controller)
  const create = controller.createVolume.bind(controller) as Unary<CreateVolumeRequest, object>
  const request = CreateVolumeRequest.fromPartial({ name: 'one', volumeCapabilities: [mount] })
  const error = await ask(create, request).catch((failed: unknown) => failed)
  expect(error).toMatchObject({ code: status.INTERNAL })
  expect((error as ServiceError).details).toContain(`the answer to CreateVolume: ${details}`)
  const node = nodeOf(serving.socketPath)
  await expect(ask(node.nodeGetInfo.bind(node) as Unary<object, object>, {})).rejects.toMatchObject({
    code: status.INTERNAL,
    details: 'the answer to NodeGetInfo: node_id is missing',
  })
})
