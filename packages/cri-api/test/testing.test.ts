import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  ContainerConfig,
  ContainerEventType,
  createCriClient,
  type CriClient,
  type CriServer,
  type DeepPartial,
  LinuxContainerResources,
  PodSandboxConfig,
  serveCri,
} from '../src/index.ts'
import { canonicalReference } from '../src/testing/images.ts'
import { createMemoryRuntime, runtimeServiceSuite } from '../src/testing/index.ts'
import { Store } from '../src/testing/store.ts'

const memory = createMemoryRuntime()
const suite = { image: 'busybox', command: ['sleep', '600'] }
let folder: string
let server: CriServer
let client: CriClient

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nodelet-suite-'))
  const socketPath = join(folder, 'cri.sock')
  server = await serveCri({ socketPath, ...memory })
  client = createCriClient(`unix://${socketPath}`)
})
afterAll(async () => {
  client.close()
  await server.close()
  await rm(folder, { recursive: true })
})

describe('in process', () => {
  for (const { name, run } of runtimeServiceSuite(() => ({ ...memory, ...suite }))) test(name, run)
})

describe('over gRPC', () => {
  for (const { name, run } of runtimeServiceSuite(() => ({ ...client, ...suite }))) test(name, run)
})

/** A container that runs, and the ID of its sandbox. */
async function running(runtime = createMemoryRuntime()) {
  const { runtimeService, imageService } = runtime
  const image = { image: 'busybox', annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' }
  await imageService.pullImage({ image, auth: undefined, sandboxConfig: undefined })
  const config = PodSandboxConfig.fromPartial({
    metadata: { name: 'a', namespace: 'b', uid: 'c' },
    logDirectory: '/var/log/pods/a',
  })
  const { podSandboxId } = await runtimeService.runPodSandbox({ config, runtimeHandler: '' })
  const container = ContainerConfig.fromPartial({ metadata: { name: 'main' }, image, logPath: 'main/0.log' })
  const { containerId } = await runtimeService.createContainer({ podSandboxId, config: container })
  await runtimeService.startContainer({ containerId })
  const status = async () => (await runtimeService.containerStatus({ containerId, verbose: false })).status
  return { ...runtime, podSandboxId, containerId, status }
}

test('a container ends by itself, with its code and reason', async () => {
  for (const [code, reason, expected] of [
    [0, undefined, 'Completed'],
    [3, undefined, 'Error'],
    [137, 'OOMKilled', 'OOMKilled'],
  ] as const) {
    const { exit, containerId, status } = await running()
    exit(containerId, code, reason)
    expect(await status()).toMatchObject({ exitCode: code, reason: expected, logPath: '/var/log/pods/a/main/0.log' })
    expect(() => exit(containerId, 0)).toThrow('it is in CONTAINER_EXITED state; start it first')
  }
})

test('what a status shows is a copy', async () => {
  const { status } = await running()
  const first = await status()
  if (first) first.labels['new'] = 'label'
  expect((await status())?.labels).toEqual({})
})

test('an update changes the resources that it names', async () => {
  const { runtimeService, containerId, status } = await running()
  const update = (linux: DeepPartial<LinuxContainerResources>) =>
    runtimeService.updateContainerResources({
      containerId,
      linux: LinuxContainerResources.fromPartial(linux),
      annotations: {},
    })
  await update({ cpuShares: 100n, unified: { 'memory.high': '1' } })
  await update({ memoryLimitInBytes: 5n })
  const expected = { cpuShares: 100n, memoryLimitInBytes: 5n, cpuQuota: 0n, unified: { 'memory.high': '1' } }
  expect((await status())?.resources?.linux).toMatchObject(expected)
})

test('events reach every reader until it leaves', async () => {
  const { runtimeService, containerId, podSandboxId } = await running()
  const stop = new AbortController()
  const read = async () => {
    const seen: unknown[] = []
    for await (const event of runtimeService.getContainerEvents({}, stop))
      seen.push([event.containerId, event.containerEventType])
    return seen
  }
  const readers = Promise.all([read(), read()])
  await runtimeService.removePodSandbox({ podSandboxId })
  // The readers take what is queued before they see the end.
  await new Promise((resolve) => setImmediate(resolve))
  stop.abort()
  const expected = [
    [containerId, ContainerEventType.CONTAINER_STOPPED_EVENT],
    [podSandboxId, ContainerEventType.CONTAINER_STOPPED_EVENT],
    [containerId, ContainerEventType.CONTAINER_DELETED_EVENT],
    [podSandboxId, ContainerEventType.CONTAINER_DELETED_EVENT],
  ]
  expect(await readers).toEqual([expected, expected])
})

test('an ambiguous ID is an error, but not NOT_FOUND', () => {
  const store = new Store<{ id: string; name: string }>('sandbox')
  const ids = ['ab01', 'ab02']
  for (const id of ids) store.add(id, () => ({ id, name: id }))
  expect(store.get('ab01').id).toBe('ab01')
  expect(() => store.find('ab')).toThrow(expect.objectContaining({ code: 'UNKNOWN' }))
  expect(() => store.get('cd')).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }))
  expect(store.find('')).toBeUndefined()
})

test('a call without a process behind it is UNIMPLEMENTED', async () => {
  const { runtimeService, containerId } = await running()
  const request = { containerId, cmd: ['true'], timeout: 0n }
  await expect(runtimeService.execSync(request)).rejects.toMatchObject({ code: 'UNIMPLEMENTED' })
})

test.each([
  ['busybox', 'docker.io/library/busybox:latest'],
  ['busybox:1', 'docker.io/library/busybox:1'],
  ['me/app', 'docker.io/me/app:latest'],
  ['localhost/app', 'localhost/app:latest'],
  ['registry.test:5000/a/b', 'registry.test:5000/a/b:latest'],
  ['registry.test/a@sha256:00', 'registry.test/a@sha256:00'],
])('%s is %s', (reference, full) => expect(canonicalReference(reference)).toBe(full))
