// The RuntimeService's calls about containers.
import { Container, ContainerConfig, CriError } from '@nodelet/cri-api'
import type { AttachRequest, ContainerFilter, CreateContainerRequest, KeyValue, RuntimeService } from '@nodelet/cri-api'
import { batches } from './batches.ts'
import { filterContainers } from './container/filter.ts'
import type { ContainerRecord } from './container/record.ts'
import { containerOf } from './container/status.ts'
import { effectiveConfig } from './sandbox/facts.ts'
import { labelsFor } from './selinux/labels.ts'
import { mountImages } from './image-mounts.ts'
import type { ServiceContext } from './service-context.ts'
import { containerId as wholeId, sandboxId, shownContainers, statusOf } from './service-context.ts'
import { createSharedCalls } from './shared-calls.ts'
import type { Streaming } from './streaming/server.ts'
import { validateCommand } from './streaming/validate.ts'

type ContainerCalls = Pick<
  RuntimeService,
  | 'createContainer'
  | 'startContainer'
  | 'stopContainer'
  | 'removeContainer'
  | 'listContainers'
  | 'streamContainers'
  | 'containerStatus'
  | 'updateContainerResources'
  | 'reopenContainerLog'
  | 'checkpointContainer'
  | 'execSync'
  | 'exec'
  | 'attach'
>

export function containerCalls(context: ServiceContext): ContainerCalls {
  const { containers, sandboxes } = context
  const shared = createSharedCalls<string>((id) => containers.list().some((one) => one.id === id))
  const idOf = (id: string): string => wholeId(context, id)
  const list = (filter: ContainerFilter | undefined): Container[] =>
    filterContainers(shownContainers(context).map(containerOf), filter, sandboxes.list())
  return {
    createContainer: async (request, { signal } = {}) => {
      const podSandboxId = sandboxId(context, request.podSandboxId)
      sandboxes.status(podSandboxId)
      const { config } = request
      if (!config?.metadata?.name) {
        throw new CriError('INVALID_ARGUMENT', 'container config has no metadata: set its name')
      }
      const key = [config.metadata.name, podSandboxId, config.metadata.attempt].join('_')
      const make = (): Promise<string> => create(context, { ...request, podSandboxId, config })
      return { containerId: await shared.call({ key, content: config, signal }, make) }
    },
    startContainer: async ({ containerId }) => {
      const { id, sandboxId: podId } = containers.status(idOf(containerId))
      // Not the client's to cut off: half a start would be neither.
      await sandboxes.use(podId, async () => containers.start(id))
      return {}
    },
    stopContainer: async ({ containerId, timeout }, { signal } = {}) => {
      await containers.stop(idOf(containerId), Math.max(0, Number(timeout) * 1000), signal)
      return {}
    },
    removeContainer: async ({ containerId }) => {
      await containers.remove(idOf(containerId))
      return {}
    },
    listContainers: async ({ filter }) => ({ containers: list(filter) }),
    async *streamContainers({ filter }) {
      for await (const found of batches(list(filter), Container)) yield { containers: found }
    },
    containerStatus: async ({ containerId, verbose }) => {
      const record = containers.status(idOf(containerId))
      return {
        status: statusOf(context, record),
        info: verbose ? { info: JSON.stringify(await containerInfo(context, record)) } : {},
      }
    },
    updateContainerResources: async ({ containerId, linux }) => {
      const { id } = containers.status(idOf(containerId))
      if (linux) await containers.updateResources(id, linux)
      return {}
    },
    reopenContainerLog: async ({ containerId }, { signal } = {}) => {
      await containers.reopenLog(idOf(containerId), signal)
      return {}
    },
    checkpointContainer: async ({ containerId, location, timeout }, { signal } = {}) => {
      const id = idOf(containerId)
      await withinSeconds(Number(timeout), signal, async (limit) => containers.checkpoint(id, location, limit))
      return {}
    },
    execSync: async ({ containerId, cmd, timeout }, { signal } = {}) =>
      containers.execSync(idOf(containerId), cmd, Number(timeout) * 1000, signal),
    exec: async (request) => {
      const { streaming, containerId } = streamingFor(context, request)
      return { url: streaming.exec({ ...request, containerId }) }
    },
    attach: async (request) => {
      const { streaming, containerId } = streamingFor(context, request)
      return { url: streaming.attach({ ...request, containerId }) }
    },
  }
}

async function create(
  { sandboxes, containers, images }: ServiceContext,
  { podSandboxId, config }: CreateContainerRequest & { config: ContainerConfig },
): Promise<string> {
  return sandboxes.use(podSandboxId, async (record, facts, signal) => {
    const asked = config.image?.image ?? ''
    if (asked.startsWith('/')) {
      const message = `image "${asked}" is a path: this runtime cannot restore containers from checkpoints`
      throw new CriError('UNIMPLEMENTED', message)
    }
    const image = images.resolve(asked)
    if (!image) throw new CriError('NOT_FOUND', `failed to resolve image "${asked}": pull it first`)
    const mounted = await mountImages(images, facts, config)
    const options = config.linux?.securityContext?.selinuxOptions
    const mountLabel = facts.selinux && labelsFor(facts.selinux, options).mount
    return containers.create({
      config: mounted.config,
      imageMounts: mounted.sources,
      handler: record.runtimeHandler,
      sandboxConfig: effectiveConfig(record),
      sandbox: facts,
      image: image.config,
      imageName: image.repoTags[0] ?? asked,
      imageId: image.id,
      imageRef: image.repoDigests[0] ?? image.id,
      rootfs: (id) => images.prepareRootfs(id, image.id, { userNamespace: facts.userNamespace, mountLabel }),
      signal,
    })
  })
}

/** Zero is no limit. */
async function withinSeconds(
  seconds: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal | undefined) => Promise<void>,
): Promise<void> {
  if (seconds <= 0) return work(signal)
  const late = new AbortController()
  const error = new CriError('DEADLINE_EXCEEDED', `it took more than ${seconds} s: give it a longer timeout`)
  const timer = setTimeout(() => late.abort(error), Math.min(seconds * 1000, 2 ** 31 - 1))
  try {
    await work(AbortSignal.any([late.signal, ...(signal ? [signal] : [])]))
  } finally {
    clearTimeout(timer)
  }
}

/**
 * The streaming server, and the whole ID of the container.
 *
 * @throws CriError UNIMPLEMENTED without a streaming server, INVALID_ARGUMENT, NOT_FOUND, or FAILED_PRECONDITION when the
 *   container does not run.
 */
function streamingFor(context: ServiceContext, request: AttachRequest): { streaming: Streaming; containerId: string } {
  const { containers, streaming } = context
  if (!streaming) throw new CriError('UNIMPLEMENTED', 'this runtime has no streaming server: start it with one')
  validateCommand(request)
  const { id, phase } = containers.status(wholeId(context, request.containerId))
  if (phase !== 'running') throw new CriError('FAILED_PRECONDITION', `container ${id} is ${phase}: start it first`)
  return { streaming, containerId: id }
}

/** The keys that users of other runtimes read. */
async function containerInfo({ containers }: ServiceContext, record: Readonly<ContainerRecord>): Promise<object> {
  const { id, sandboxId: podId, phase, init, removing, config, rootfs, notes = [] } = record
  return {
    sandboxID: podId,
    pid: phase === 'running' || phase === 'created' ? (init?.pid ?? 0) : 0,
    removing,
    notes,
    snapshotKey: id,
    snapshotter: 'overlay',
    rootfs,
    runtimeType: containers.runc(id).binary,
    runtimeOptions: null,
    config: { ...(ContainerConfig.toJSON(config) as object), envs: config.envs.map(readable) },
    runtimeSpec: (await containers.spec(id)) ?? null,
  }
}

/** Values are bytes, which JSON would show in base64. */
const readable = ({ key, value }: KeyValue): object => ({ key, value: Buffer.from(value).toString() })
