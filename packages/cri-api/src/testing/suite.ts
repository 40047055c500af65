// The same calls against any runtime: what kubelets rely on.
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import {
  ContainerConfig,
  type ContainerFilter,
  ContainerState,
  type DeepPartial,
  ListContainersRequest,
  ListPodSandboxRequest,
  PodSandboxConfig,
  PodSandboxState,
  VersionRequest,
} from '../gen/runtime.ts'
import { isNotFound } from '../errors.ts'
import type { ImageService, RuntimeService } from '../services.ts'

/** A runtime under test. */
export interface SuiteRuntime {
  runtimeService: RuntimeService
  imageService: ImageService
  /** A reference that can be pulled, and a command of it that runs for minutes. */
  image: string
  command: string[]
}

/** A case of the suite: hand it to any test runner. */
export interface SuiteCase {
  name: string
  run(): Promise<void>
}

const unknown = 'f'.repeat(64)
const { CONTAINER_CREATED, CONTAINER_EXITED, CONTAINER_RUNNING } = ContainerState

/**
 * What every CRI runtime must do, as cases that leave nothing behind. `runtime` is asked at the start of each case.
 * Failures are `AssertionError`s.
 */
export function runtimeServiceSuite(runtime: () => SuiteRuntime): SuiteCase[] {
  const pod = () => podIn(runtime())
  return [
    {
      name: 'says its version and that it is ready',
      async run() {
        const { runtimeService } = runtime()
        const { version, runtimeApiVersion, runtimeName } = await runtimeService.version(VersionRequest.create())
        deepStrictEqual([version, runtimeApiVersion], ['0.1.0', 'v1'])
        ok(runtimeName)
        const { status } = await runtimeService.status({ verbose: false })
        const ready = status?.conditions.filter((condition) => condition.status).map(({ type }) => type)
        ok(ready?.includes('RuntimeReady'))
      },
    },
    {
      name: 'a sandbox is READY, then NOTREADY, then gone; stop and remove may be repeated',
      async run() {
        const { runtimeService } = runtime()
        await using sandbox = await pod()
        const podSandboxId = sandbox.id
        const state = async () =>
          (await runtimeService.podSandboxStatus({ podSandboxId, verbose: false })).status?.state
        strictEqual(await state(), PodSandboxState.SANDBOX_READY)
        for (let times = 0; times < 2; times++) await runtimeService.stopPodSandbox({ podSandboxId })
        strictEqual(await state(), PodSandboxState.SANDBOX_NOTREADY)
        for (let times = 0; times < 2; times++) await runtimeService.removePodSandbox({ podSandboxId })
        await rejects(state, isNotFound)
      },
    },
    {
      name: 'returns metadata, labels and annotations as given',
      async run() {
        await using sandbox = await pod()
        const request = { podSandboxId: sandbox.id, verbose: false }
        const { status } = await runtime().runtimeService.podSandboxStatus(request)
        const { metadata, labels, annotations } = sandbox.config
        deepStrictEqual([status?.metadata, status?.labels, status?.annotations], [metadata, labels, annotations])
        ok((status?.createdAt ?? 0n) > 0n)
      },
    },
    {
      name: 'a container is CREATED, RUNNING, EXITED, then gone; start works once',
      async run() {
        const { runtimeService } = runtime()
        await using sandbox = await pod()
        const containerId = await sandbox.create('main')
        const status = async () => (await runtimeService.containerStatus({ containerId, verbose: false })).status
        const created = await status()
        strictEqual(created?.state, CONTAINER_CREATED)
        deepStrictEqual([created.startedAt, created.finishedAt], [0n, 0n])
        await runtimeService.startContainer({ containerId })
        strictEqual((await status())?.state, CONTAINER_RUNNING)
        await rejects(runtimeService.startContainer({ containerId }))
        for (let times = 0; times < 2; times++) await runtimeService.stopContainer({ containerId, timeout: 0n })
        const exited = await status()
        strictEqual(exited?.state, CONTAINER_EXITED)
        strictEqual(exited.exitCode, 137)
        ok(exited.createdAt <= exited.startedAt && exited.startedAt <= exited.finishedAt)
        for (let times = 0; times < 2; times++) await runtimeService.removeContainer({ containerId })
        await rejects(status, isNotFound)
      },
    },
    {
      name: 'removing a sandbox stops and removes its containers, and frees its name',
      async run() {
        const { runtimeService } = runtime()
        await using sandbox = await pod()
        const containerId = await sandbox.create('main')
        await runtimeService.startContainer({ containerId })
        await runtimeService.removePodSandbox({ podSandboxId: sandbox.id })
        await rejects(runtimeService.containerStatus({ containerId, verbose: false }), isNotFound)
        const again = await runtimeService.runPodSandbox({ config: sandbox.config, runtimeHandler: '' })
        await runtimeService.removePodSandbox(again)
      },
    },
    {
      name: 'a stopped sandbox takes no container',
      async run() {
        await using sandbox = await pod()
        await runtime().runtimeService.stopPodSandbox({ podSandboxId: sandbox.id })
        await rejects(sandbox.create('late'))
      },
    },
    {
      name: 'a name that is taken is refused',
      async run() {
        await using sandbox = await pod()
        const containerId = await sandbox.create('main')
        await rejects(sandbox.create('main'))
        await runtime().runtimeService.removeContainer({ containerId })
        await sandbox.create('main')
      },
    },
    {
      name: 'what is not there: OK to stop and remove, NOT_FOUND to ask, start and create in',
      async run() {
        const { runtimeService } = runtime()
        await runtimeService.stopPodSandbox({ podSandboxId: unknown })
        await runtimeService.removePodSandbox({ podSandboxId: unknown })
        await runtimeService.stopContainer({ containerId: unknown, timeout: 0n })
        await runtimeService.removeContainer({ containerId: unknown })
        await rejects(runtimeService.podSandboxStatus({ podSandboxId: unknown, verbose: false }), isNotFound)
        await rejects(runtimeService.containerStatus({ containerId: unknown, verbose: false }), isNotFound)
        await rejects(runtimeService.startContainer({ containerId: unknown }), isNotFound)
        const request = { podSandboxId: unknown, config: undefined, sandboxConfig: undefined }
        await rejects(runtimeService.createContainer(request), isNotFound)
      },
    },
    {
      name: 'lists by ID prefix, sandbox, state and label, all at once',
      async run() {
        const { runtimeService } = runtime()
        await using sandbox = await pod()
        await using other = await pod()
        const first = await sandbox.create('first')
        const second = await sandbox.create('second')
        await other.create('first')
        await runtimeService.startContainer({ containerId: second })
        const list = async (filter: DeepPartial<ContainerFilter>) =>
          (await runtimeService.listContainers(ListContainersRequest.fromPartial({ filter }))).containers
            .map(({ id }) => id)
            .toSorted()
        const podSandboxId = sandbox.id
        deepStrictEqual(await list({ podSandboxId }), [first, second].toSorted())
        deepStrictEqual(await list({ podSandboxId, state: { state: CONTAINER_RUNNING } }), [second])
        deepStrictEqual(await list({ podSandboxId, labelSelector: { name: 'first' } }), [first])
        deepStrictEqual(await list({ podSandboxId, labelSelector: { name: 'third' } }), [])
        deepStrictEqual(await list({ id: first.slice(0, 32) }), [first])
        deepStrictEqual(await list({ id: unknown }), [])
        const filter = { labelSelector: { run: sandbox.config.labels['run'] ?? '' } }
        const { items } = await runtimeService.listPodSandbox(ListPodSandboxRequest.fromPartial({ filter }))
        deepStrictEqual(
          items.map(({ id }) => id),
          [podSandboxId],
        )
      },
    },
    {
      name: 'an image has one ID everywhere; a missing one is no error to ask for, but to run',
      async run() {
        const { imageService, runtimeService, image } = runtime()
        const spec = { image: { image, annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' } }
        const missing = { image: { ...spec.image, image: 'localhost/nodelet/missing:none' } }
        await using sandbox = await pod()
        const containerId = await sandbox.create('main')
        const { status } = await runtimeService.containerStatus({ containerId, verbose: false })
        const found = await imageService.imageStatus({ ...spec, verbose: false })
        strictEqual(status?.imageId, found.image?.id)
        ok((found.image?.size ?? 0n) > 0n)
        strictEqual((await imageService.imageStatus({ ...missing, verbose: false })).image, undefined)
        await imageService.removeImage(missing)
        await rejects(sandbox.create('other', missing.image.image), isNotFound)
      },
    },
  ]
}

interface SuitePod extends AsyncDisposable {
  id: string
  config: PodSandboxConfig
  create(name: string, image?: string): Promise<string>
}

/** A sandbox with a name of its own; leaving its scope removes it. */
async function podIn({ runtimeService, imageService, image, command }: SuiteRuntime): Promise<SuitePod> {
  const spec = (name: string) => ({
    image: name,
    annotations: {},
    userSpecifiedImage: '',
    runtimeHandler: '',
    imageRef: '',
  })
  await imageService.pullImage({ image: spec(image), auth: undefined, sandboxConfig: undefined })
  const uid = randomUUID()
  const config = PodSandboxConfig.fromPartial({
    metadata: { name: 'suite', namespace: 'default', uid, attempt: 0 },
    labels: { run: uid, 'example.com/ümlaut': '' },
    annotations: { 'example.com/text': 'two\nlines' },
    linux: {},
  })
  const { podSandboxId: id } = await runtimeService.runPodSandbox({ config, runtimeHandler: '' })
  const create = async (name: string, from = image) => {
    const container = ContainerConfig.fromPartial({
      metadata: {
        name,
        attempt: 0,
      },
      image: spec(from),
      command,
      labels: { name },
      linux: {},
    })
    const request = { podSandboxId: id, config: container, sandboxConfig: config }
    return (await runtimeService.createContainer(request)).containerId
  }
  const remove = async () => void (await runtimeService.removePodSandbox({ podSandboxId: id }))
  return { id, config, create, [Symbol.asyncDispose]: remove }
}
