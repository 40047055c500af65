// Calls of a driver that behaves, and of drivers that do not.
import type { ServerHttp2Stream } from 'node:http2'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createCsiDrivers, type CsiDriver, CsiError, csiErrorKind, type CsiOperation } from '../../src/index.ts'
import { type ServedDriver, serveDriver, serveRaw, socketFolder } from './fake-driver.ts'

const never = new AbortController().signal
const name = 'disk.example.com'

let place: Awaited<ReturnType<typeof socketFolder>>
let served: ServedDriver
let driver: CsiDriver
let impatient: CsiDriver
const operations: CsiOperation[] = []
const lines: string[] = []
const line = (fields: object, message: string): void => void lines.push(`${JSON.stringify(fields)} ${message}`)
const log = { error: line, warn: line, info: line, debug: line }

/** A driver at this socket, whoever is there, as one with good manners had been registered. */
async function driverAt(endpoint: string, timeoutMs = 20_000): Promise<CsiDriver> {
  const drivers = createCsiDrivers({ log, observed: (operation) => operations.push(operation), timeoutMs })
  await drivers.register({ name, endpoint, versions: ['1.0.0'] }, never)
  return drivers.get(name)!
}

beforeAll(async () => {
  place = await socketFolder()
  served = place.opened.use(await serveDriver(place.folder))
  driver = await driverAt(served.endpoint)
  // On a busy machine it may be too impatient to be registered at once.
  impatient = await vi.waitFor(async () => driverAt(served.endpoint, 60), { timeout: 20_000 })
})
afterAll(async () => place[Symbol.asyncDispose]())
beforeEach(() => {
  served.asked.length = 0
  operations.length = 0
  lines.length = 0
  for (const method of Object.keys(served.does)) delete served.does[method as keyof ServedDriver['does']]
})

const secret = 'hunter2\n"x"'
const token = 'eyJhbGciOi.J9.sig'
const tokens = JSON.stringify({ vault: { token, expirationTimestamp: 'soon' } })
const capability = {
  volumeMode: 'Filesystem',
  accessMode: 'SINGLE_NODE_WRITER',
  fsType: 'ext4',
  mountFlags: ['ro'],
} as const
const stage = {
  volumeId: 'v1',
  stagingTargetPath: '/stage',
  capability,
  publishContext: { lun: '3' },
  volumeContext: { pool: 'fast', 'csi.storage.k8s.io/serviceAccount.tokens': tokens },
  secrets: { password: secret },
}

/** Every call: its name in NodeService, how it is made, what is asked, what comes of a good answer. */
const calls: [
  method: keyof ServedDriver['does'],
  make: (driver: CsiDriver, signal: AbortSignal) => Promise<unknown>,
  request: object,
  answer: unknown,
][] = [
  [
    'nodeGetCapabilities',
    async (d, signal) => d.capabilities(signal),
    {},
    {
      stageUnstage: true,
      volumeStats: true,
      expand: true,
      volumeCondition: false,
      singleNodeMultiWriter: false,
      volumeMountGroup: false,
    },
  ],
  [
    'nodeGetInfo',
    async (d, signal) => d.nodeInfo(signal),
    {},
    { nodeId: 'node-1', maxVolumesPerNode: 25, topology: { zone: 'a' } },
  ],
  [
    'nodeStageVolume',
    async (d, signal) => d.stage(stage, signal),
    {
      volumeId: 'v1',
      stagingTargetPath: '/stage',
      volumeCapability: {
        accessMode: { mode: 1 },
        mount: { fsType: 'ext4', mountFlags: ['ro'], volumeMountGroup: '' },
        block: undefined,
      },
      publishContext: stage.publishContext,
      volumeContext: stage.volumeContext,
      secrets: stage.secrets,
    },
    undefined,
  ],
  [
    'nodeUnstageVolume',
    async (d, signal) => d.unstage({ volumeId: 'v1', stagingTargetPath: '/stage' }, signal),
    { volumeId: 'v1', stagingTargetPath: '/stage' },
    undefined,
  ],
  [
    'nodePublishVolume',
    async (d, signal) =>
      d.publish(
        {
          volumeId: 'v1',
          targetPath: '/target',
          capability: { volumeMode: 'Block', accessMode: 'MULTI_NODE_MULTI_WRITER' },
          readonly: true,
          secrets: stage.secrets,
        },
        signal,
      ),
    {
      volumeId: 'v1',
      stagingTargetPath: '',
      targetPath: '/target',
      volumeCapability: { accessMode: { mode: 5 }, block: {}, mount: undefined },
      readonly: true,
      publishContext: {},
      volumeContext: {},
      secrets: stage.secrets,
    },
    undefined,
  ],
  [
    'nodeUnpublishVolume',
    async (d, signal) => d.unpublish({ volumeId: 'v1', targetPath: '/target' }, signal),
    { volumeId: 'v1', targetPath: '/target' },
    undefined,
  ],
  [
    'nodeGetVolumeStats',
    async (d, signal) => d.stats({ volumeId: 'v1', volumePath: '/target' }, signal),
    { volumeId: 'v1', volumePath: '/target', stagingTargetPath: '' },
    { bytes: { total: 100, available: 60, used: 40 }, inodes: { total: 10, available: 4, used: 6 } },
  ],
  [
    'nodeExpandVolume',
    async (d, signal) =>
      d.expand({ volumeId: 'v1', volumePath: '/target', requiredBytes: 2048, secrets: stage.secrets }, signal),
    {
      volumeId: 'v1',
      volumePath: '/target',
      stagingTargetPath: '',
      capacityRange: { requiredBytes: 2048n, limitBytes: 0n },
      volumeCapability: undefined,
      secrets: stage.secrets,
    },
    2048,
  ],
]

const pathOf = (method: string): string => `/csi.v1.Node/${method[0]!.toUpperCase()}${method.slice(1)}`

async function failureOf(work: Promise<unknown>): Promise<CsiError> {
  const error = await work.then(
    () => undefined,
    (failure: unknown) => failure,
  )
  expect(error).toBeInstanceOf(CsiError)
  return error as CsiError
}

describe.each(calls)('%s', (method, make, request, answer) => {
  test('asks what it was told to, and gives the answer as a plain object', async () => {
    await expect(make(driver, never)).resolves.toEqual(answer)
    expect(served.asked).toMatchObject([{ method, authority: 'localhost' }])
    expect(served.asked[0]?.request).toEqual(request)
    expect(operations).toMatchObject([{ driver: name, method: pathOf(method), code: 'OK' }])
    expect(operations[0]?.seconds).toBeGreaterThan(0)
  })

  test.each([
    [1, 'CANCELLED', 'Canceled', 'uncertain'],
    [2, 'UNKNOWN', 'Unknown', 'final'],
    [3, 'INVALID_ARGUMENT', 'InvalidArgument', 'final'],
    [4, 'DEADLINE_EXCEEDED', 'DeadlineExceeded', 'uncertain'],
    [5, 'NOT_FOUND', 'NotFound', 'final'],
    [6, 'ALREADY_EXISTS', 'AlreadyExists', 'final'],
    [8, 'RESOURCE_EXHAUSTED', 'ResourceExhausted', 'uncertain'],
    [9, 'FAILED_PRECONDITION', 'FailedPrecondition', 'final'],
    [10, 'ABORTED', 'Aborted', 'uncertain'],
    [11, 'OUT_OF_RANGE', 'OutOfRange', 'final'],
    [12, 'UNIMPLEMENTED', 'Unimplemented', 'final'],
    [13, 'INTERNAL', 'Internal', 'final'],
    [14, 'UNAVAILABLE', 'Unavailable', 'uncertain'],
    [16, 'UNAUTHENTICATED', 'Unauthenticated', 'final'],
    [99, 'UNKNOWN', 'Code(99)', 'final'],
  ])('code %i is an error of its kind', async (code, name, goName, kind) => {
    served.does[method] = () => Promise.reject(Object.assign(new Error('no'), { code, details: 'it is not so' }))
    const error = await failureOf(make(driver, never))
    expect(error).toMatchObject({ code: name, kind, message: `rpc error: code = ${goName} desc = it is not so` })
    expect(operations).toMatchObject([{ method: pathOf(method), code: goName }])
  })

  test('a driver that hangs is given up at the deadline, which it knew', async () => {
    served.does[method] = () => new Promise(() => {})
    const error = await failureOf(make(impatient, never))
    expect(error).toMatchObject({ code: 'DEADLINE_EXCEEDED', kind: 'uncertain' })
    expect(served.asked[0]?.deadline).not.toBe(Infinity)
    expect(operations).toMatchObject([{ code: 'DeadlineExceeded' }])
  })

  test('an aborted call ends with the reason of its signal, and the driver hears of it', async () => {
    const abort = new AbortController()
    const reason = new Error('the pod is gone')
    const heard = new Promise<void>((resolve) => {
      served.does[method] = (call) => {
        call.once('cancelled', () => resolve())
        abort.abort(reason)
        return new Promise(() => {})
      }
    })
    await expect(make(driver, abort.signal)).rejects.toBe(reason)
    await heard
    expect(operations).toMatchObject([{ code: 'Canceled' }])
    expect(csiErrorKind(reason)).toBe('uncertain')
    await expect(make(driver, abort.signal)).rejects.toBe(reason)
    expect(served.asked).toHaveLength(1)
  })

  test('garbage for an answer leaves the volume uncertain', async () => {
    served.does[method] = () => Buffer.alloc(11, 0xff)
    const error = await failureOf(make(driver, never))
    expect(error).toMatchObject({
      code: 'INTERNAL',
      kind: 'uncertain',
      message: `${pathOf(method).slice('/csi.v1.Node/'.length)}: invalid answer: no message of this call`,
    })
    expect(operations).toMatchObject([{ code: 'Internal' }])
  })

  test('a driver that dies in the middle leaves the volume uncertain; the one after it is reached at once', async () => {
    const mortal = await serveDriver(place.folder, 'mortal.sock')
    const called = await driverAt(mortal.endpoint)
    mortal.does[method] = () => {
      mortal.kill()
      return new Promise(() => {})
    }
    expect(await failureOf(make(called, never))).toMatchObject({ code: 'UNAVAILABLE', kind: 'uncertain' })
    expect(await failureOf(make(called, never))).toMatchObject({ code: 'UNAVAILABLE', kind: 'uncertain' })
    await using next = await serveDriver(place.folder, 'mortal.sock')
    await expect(make(called, never)).resolves.toEqual(answer)
    expect(next.asked).toHaveLength(1)
  })
})

describe('answers that cannot be', () => {
  test.each<[string, keyof ServedDriver['does'], object, (d: CsiDriver) => Promise<unknown>, string]>([
    ['no node', 'nodeGetInfo', {}, async (d) => d.nodeInfo(never), 'node_id is empty'],
    [
      'long',
      'nodeGetInfo',
      { nodeId: 'é'.repeat(129) },
      async (d) => d.nodeInfo(never),
      'node_id has 258 bytes: must be at most 256',
    ],
    [
      'no usage',
      'nodeGetVolumeStats',
      { usage: [] },
      async (d) => d.stats({ volumeId: 'v', volumePath: '/v' }, never),
      'usage is missing',
    ],
    [
      'other unit',
      'nodeGetVolumeStats',
      { usage: [{ unit: 7, total: 1n, used: 1n, available: 0n }] },
      async (d) => d.stats({ volumeId: 'v', volumePath: '/v' }, never),
      'usage is neither in BYTES nor in INODES',
    ],
    [
      'negative',
      'nodeGetVolumeStats',
      { usage: [{ unit: 1, total: 1n, used: -2n, available: 0n }] },
      async (d) => d.stats({ volumeId: 'v', volumePath: '/v' }, never),
      'usage in BYTES: used is -2: must not be negative',
    ],
    [
      'negative capacity',
      'nodeExpandVolume',
      { capacityBytes: -1n },
      async (d) => d.expand({ volumeId: 'v', volumePath: '/v', requiredBytes: 1 }, never),
      'capacity_bytes is -1: must not be negative',
    ],
  ])('%s: %s', async (_, method, answer, make, problem) => {
    served.does[method] = () => answer
    const error = await failureOf(make(driver))
    expect(error).toMatchObject({ code: 'INTERNAL', kind: 'uncertain' })
    expect(error.message).toContain(`: invalid answer: ${problem}`)
  })

  test.each([
    [0n, 0],
    [-3n, 0],
    [2n ** 40n, 2 ** 31 - 1],
  ])('a limit of %i volumes is %i', async (limit, seen) => {
    served.does.nodeGetInfo = () => ({ nodeId: 'n', maxVolumesPerNode: limit })
    await expect(driver.nodeInfo(never)).resolves.toEqual({ nodeId: 'n', maxVolumesPerNode: seen, topology: undefined })
    expect(lines.filter((text) => text.includes('negative'))).toHaveLength(limit < 0n ? 1 : 0)
  })

  test('a capacity of 0 is not told; a condition is; 8 EiB are no trouble', async () => {
    served.does.nodeExpandVolume = () => ({ capacityBytes: 0n })
    await expect(driver.expand({ volumeId: 'v', volumePath: '/v', requiredBytes: 1 }, never)).resolves.toBeUndefined()
    const total = 2n ** 63n - 2n ** 20n
    served.does.nodeGetVolumeStats = () => ({
      usage: [{ unit: 1, total, available: total, used: 0n }],
      volumeCondition: { abnormal: true, message: 'a disk is lost' },
    })
    await expect(driver.stats({ volumeId: 'v', volumePath: '/v' }, never)).resolves.toEqual({
      bytes: { total: Number(total), available: Number(total), used: 0 },
      condition: { abnormal: true, message: 'a disk is lost' },
    })
  })

  test('capabilities that are not known are passed over; those that are a lie answer Unimplemented', async () => {
    served.does.nodeGetCapabilities = () => ({ capabilities: [{ rpc: { type: 1 } }, { rpc: { type: 42 } }, {}] })
    served.does.nodeStageVolume = () =>
      Promise.reject(Object.assign(new Error('no'), { code: 12, details: 'unknown method' }))
    await expect(driver.capabilities(never)).resolves.toMatchObject({ stageUnstage: true, expand: false })
    expect(await failureOf(driver.stage(stage, never))).toMatchObject({ code: 'UNIMPLEMENTED', kind: 'final' })
  })
})

test.each<[string, (stream: ServerHttp2Stream) => void]>([
  ['resets the stream', (stream) => stream.close(2)],
  ['closes the stream', (stream) => stream.close(0)],
  ['drops the connection', (stream) => stream.session?.destroy()],
  ['has an HTTP error', (stream) => (stream.respond({ ':status': 404 }), stream.end())],
  [
    'says OK without an answer',
    (stream) =>
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '0' }, { endStream: true }),
  ],
  ['has no status', (stream) => (stream.respond({ ':status': 200, 'content-type': 'application/grpc' }), stream.end())],
])('a driver that %s leaves the volume uncertain', async (title, does) => {
  const endpoint = join(place.folder, `${title.replaceAll(' ', '-')}.sock`)
  {
    await using first = await serveDriver(place.folder, `${title.replaceAll(' ', '-')}.sock`)
    const called = await driverAt(first.endpoint)
    first.kill()
    await using _ = await serveRaw(endpoint, does)
    expect(await failureOf(called.stage(stage, never))).toMatchObject({ kind: 'uncertain' })
  }
})

test('secrets and tokens that a driver blurts out are in no error, log or observation', async () => {
  const words = `mount -o password=${secret} failed; ${JSON.stringify(secret)}; bearer ${token}; ${tokens}`
  served.does.nodeStageVolume = () => Promise.reject(Object.assign(new Error('no'), { code: 13, details: words }))
  const error = await failureOf(driver.stage(stage, never))
  expect(error.message).toBe(
    'rpc error: code = Internal desc = mount -o password=<masked> failed; "<masked>"; bearer <masked>; <masked>',
  )
  expect(operations).toHaveLength(1)
  const told = [error.stack, JSON.stringify(error), String(error.cause), ...lines, JSON.stringify(operations)].join(
    '\n',
  )
  for (const hidden of ['hunter2', token]) expect(told).not.toContain(hidden)
})

test.each<[string, (d: CsiDriver) => Promise<unknown>, string]>([
  ['volume', async (d) => d.unstage({ volumeId: '', stagingTargetPath: '/s' }, never), 'volumeId: must not be empty'],
  [
    'path',
    async (d) => d.unpublish({ volumeId: 'v', targetPath: 'here' }, never),
    'targetPath: "here": must be an absolute path',
  ],
  [
    'staging',
    async (d) => d.stats({ volumeId: 'v', volumePath: '/v', stagingTargetPath: '' }, never),
    'stagingTargetPath: "": must be an absolute path',
  ],
  [
    'size',
    async (d) => d.expand({ volumeId: 'v', volumePath: '/v', requiredBytes: -1 }, never),
    'requiredBytes: -1: must be a whole number from 0 to 9007199254740991',
  ],
])('a request with a wrong %s is not sent', async (_, make, message) => {
  expect(await failureOf(make(driver))).toMatchObject({ code: 'INVALID_ARGUMENT', kind: 'transient', message })
  expect(served.asked).toEqual([])
})

test('a slow driver is awaited, many calls at a time', async () => {
  const { promise: all, resolve } = Promise.withResolvers<void>()
  served.does.nodePublishVolume = async () => {
    if (served.asked.length === 20) resolve()
    await all
    return {}
  }
  const publish = { volumeId: 'v', targetPath: '/t', capability }
  await Promise.all(Array.from({ length: 20 }, async () => driver.publish(publish, never)))
  expect(operations).toHaveLength(20)
})
