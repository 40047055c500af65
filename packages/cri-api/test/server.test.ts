import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  createCriClient,
  type CriClient,
  CriError,
  type CriServer,
  isNotFound,
  isUnimplemented,
  serveCri,
} from '../src/index.ts'
import {
  ContainerEventResponse,
  type GetEventsRequest,
  ListPodSandboxRequest,
  ListPodSandboxResponse,
  PodSandboxStatusRequest,
  StreamPodSandboxesResponse,
  VersionRequest,
  VersionResponse,
} from '../src/index.ts'
import type { CallOptions, ImageService, RpcName, RuntimeService } from '../src/index.ts'

const aborted = Promise.withResolvers<unknown>()

/** A service of a few calls; what it lacks must reach callers as UNIMPLEMENTED or UNKNOWN, never as a hang. */
const service = {
  version: async (request: VersionRequest) =>
    VersionResponse.fromPartial({ version: request.version, runtimeName: 'partial', runtimeApiVersion: 'v1' }),
  podSandboxStatus: async ({ podSandboxId }: PodSandboxStatusRequest) => {
    throw new CriError('NOT_FOUND', `sandbox ${podSandboxId} is not there`)
  },
  stopContainer: async () => {
    throw new Error('the disk is on fire')
  },
  checkpointContainer: async () => {
    throw new CriError('UNIMPLEMENTED', 'criu is not installed')
  },
  listPodSandbox: async ({ filter }: ListPodSandboxRequest) =>
    ListPodSandboxResponse.fromPartial({
      items: [{ id: 'a', createdAt: 2n ** 62n, labels: filter?.labelSelector ?? {} }],
    }),
  async *getContainerEvents(_request: GetEventsRequest) {
    for (let count = 0; ; count++) {
      yield ContainerEventResponse.fromPartial({ containerId: String(count) })
      if (count === 999) throw new CriError('RESOURCE_EXHAUSTED', 'list again')
    }
  },
  async *streamPodSandboxes(_request: unknown, { signal }: CallOptions = {}) {
    yield StreamPodSandboxesResponse.fromPartial({})
    await new Promise((resolve) => signal?.addEventListener('abort', resolve))
    aborted.resolve(signal?.reason)
  },
  runPodSandbox: (_request: unknown, { signal }: CallOptions = {}) =>
    new Promise<never>((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason as Error))),
} as unknown as RuntimeService

let folder: string
let socketPath: string
let server: CriServer
let client: CriClient

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nodelet-cri-'))
  socketPath = join(folder, 'cri.sock')
  server = await serveCri({ socketPath, runtimeService: service, imageService: {} as ImageService })
  client = createCriClient(`unix://${socketPath}`)
})

afterAll(async () => {
  client.close()
  await server.close()
  await rm(folder, { recursive: true })
})

describe.each([
  ['in process', () => service],
  ['over gRPC', () => client.runtimeService],
])('%s', (_, runtime) => {
  test('answers', async () => {
    const answer = await runtime().version(VersionRequest.fromPartial({ version: '0.1.0' }))
    expect(answer).toEqual({ version: '0.1.0', runtimeName: 'partial', runtimeVersion: '', runtimeApiVersion: 'v1' })
  })

  test('keeps 64-bit numbers and maps', async () => {
    const request = ListPodSandboxRequest.fromPartial({ filter: { labelSelector: { 'a/b': 'c' } } })
    const { items } = await runtime().listPodSandbox(request)
    expect(items[0]).toMatchObject({ createdAt: 2n ** 62n, labels: { 'a/b': 'c' } })
  })

  test('tells the code of an error', async () => {
    const error = await runtime()
      .podSandboxStatus(PodSandboxStatusRequest.fromPartial({ podSandboxId: 'x' }))
      .catch((e: unknown) => e)
    expect(isNotFound(error)).toBe(true)
    expect(error).toMatchObject({ message: 'sandbox x is not there' })
  })

  test('aborts', async () => {
    const signal = AbortSignal.timeout(50)
    await expect(runtime().runPodSandbox({ config: undefined, runtimeHandler: '' }, { signal })).rejects.toMatchObject({
      name: 'TimeoutError',
    })
  })

  test('streams until the runtime ends with an error', async () => {
    let count = 0
    const read = async () => {
      for await (const event of runtime().getContainerEvents({})) expect(event.containerId).toBe(String(count++))
    }
    await expect(read()).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED', message: 'list again' })
    expect(count).toBe(1000)
  })
})

test('other errors are UNKNOWN with their text, missing calls fail, UNIMPLEMENTED is told', async () => {
  await expect(client.runtimeService.stopContainer({ containerId: 'x', timeout: 0n })).rejects.toMatchObject({
    code: 'UNKNOWN',
    message: 'the disk is on fire',
  })
  await expect(client.runtimeService.removeContainer({ containerId: 'x' })).rejects.toMatchObject({
    code: 'UNIMPLEMENTED',
    message: 'this runtime does not offer removeContainer',
  })
  const request = { containerId: 'x', location: '', timeout: 0n }
  expect(isUnimplemented(await client.runtimeService.checkpointContainer(request).catch((e: unknown) => e))).toBe(true)
})

test('leaving a stream early ends it on the server', async () => {
  for await (const _ of client.runtimeService.streamPodSandboxes({ filter: undefined })) break
  await expect(aborted.promise).resolves.toMatchObject({ message: 'the client has gone' })
})

test('closing ends open streams and cuts calls that outlast the grace', async () => {
  const path = join(folder, 'closing.sock')
  const options = { runtimeService: service, imageService: {} as ImageService, graceMs: 100 }
  const closing = await serveCri({ socketPath: path, ...options })
  await using reader = createCriClient(`unix://${path}`)
  const messages = reader.runtimeService.streamPodSandboxes({ filter: undefined })[Symbol.asyncIterator]()
  expect((await messages.next()).done).toBe(false)
  const call = reader.runtimeService.runPodSandbox({ config: undefined, runtimeHandler: '' })
  const outcomes = Promise.all([messages.next().catch((e: unknown) => e), call.catch((e: unknown) => e)])
  // A round trip behind the call: it has reached the server.
  await reader.runtimeService.version(VersionRequest.create())
  await closing.close()
  expect(await outcomes).toEqual([
    expect.objectContaining({ code: 'UNAVAILABLE', message: 'the runtime is shutting down; connect again' }),
    expect.any(CriError),
  ])
})

test('the socket has its mode; a live one is refused, a dead one replaced, a file left alone', async () => {
  expect((await stat(socketPath)).mode & 0o777).toBe(0o660)
  const options = { runtimeService: service, imageService: {} as ImageService }
  await expect(serveCri({ socketPath, ...options })).rejects.toThrow(
    `cannot listen on ${socketPath}: another runtime serves it`,
  )

  const file = join(folder, 'file')
  await writeFile(file, '')
  await expect(serveCri({ socketPath: file, ...options })).rejects.toThrow('not a socket')

  const second = join(folder, 'second.sock')
  await using other = await listenElsewhere(second)
  await other.kill()
  expect((await stat(second)).isSocket()).toBe(true)
  await using replaced = await serveCri({ socketPath: second, ...options })
  expect((await stat(second)).isSocket()).toBe(true)
  await replaced.close()
  await expect(stat(second)).rejects.toMatchObject({ code: 'ENOENT' })
})

test('a call past its deadline fails with DEADLINE_EXCEEDED, others have none', async () => {
  const timeout = (rpc: RpcName) => (rpc === 'runPodSandbox' ? 50 : undefined)
  await using hurried = createCriClient(`unix://${socketPath}`, { timeout })
  const request = { config: undefined, runtimeHandler: '' }
  await expect(hurried.runtimeService.runPodSandbox(request)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' })
  await expect(hurried.runtimeService.version(VersionRequest.create())).resolves.toMatchObject({ version: '' })
})

test('only unix endpoints', () => {
  expect(() => createCriClient('tcp://127.0.0.1:1')).toThrow('CRI endpoint "tcp://127.0.0.1:1"')
})

test('a runtime that hangs with a full queue keeps its socket', async () => {
  const path = join(folder, 'busy.sock')
  await using other = await listenElsewhere(path)
  other.child.kill('SIGSTOP')
  const waiting = Array.from({ length: 4 }, () => connect(path).on('error', () => undefined))
  const serve = serveCri({ socketPath: path, runtimeService: service, imageService: {} as ImageService })
  await expect(serve).rejects.toThrow(`cannot tell whether ${path} is in use`)
  expect((await stat(path)).isSocket()).toBe(true)
  for (const socket of waiting) socket.destroy()
})

/** Another process that listens on a socket with a queue of one; killed at the end, which leaves its socket behind. */
async function listenElsewhere(path: string) {
  const program = `require('node:net').createServer().listen({ path: ${JSON.stringify(path)}, backlog: 1 }, () => console.log('up'))`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  await once(child.stdout, 'data')
  const kill = async () => {
    child.kill('SIGKILL')
    await exited
  }
  return { child, kill, [Symbol.asyncDispose]: kill }
}
