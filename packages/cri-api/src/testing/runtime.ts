// A runtime that keeps the state of CRI and runs nothing.
import { posix } from 'node:path'
import { CriError } from '../errors.ts'
import {
  ContainerConfig,
  ContainerEventType,
  ContainerState,
  PodSandboxConfig,
  PodSandboxState,
  type RuntimeHandler,
  StatusResponse,
} from '../gen/runtime.ts'
import type { ImageService, RuntimeService } from '../services.ts'
import { createEvents } from './events.ts'
import { createMemoryImages } from './images.ts'
import { mergeResources } from './resources.ts'
import { hasLabels, now, Store } from './store.ts'
import { unimplementedCalls } from './unimplemented.ts'
import {
  containerOf,
  containerStatusOf,
  type MemoryContainer,
  type MemorySandbox,
  sandboxOf,
  stateOf,
} from './views.ts'

export interface MemoryRuntime {
  runtimeService: RuntimeService
  imageService: ImageService
  /** Ends the process of a running container, as a program that exits does. Throws when it is not running. */
  exit(containerId: string, exitCode: number, reason?: string): void
}

/**
 * A runtime for tests, with the states, names and errors of CRI. Containers run until they are stopped or `exit` ends them; no
 * process, network or file is made. Calls that need one (exec, logs, stats, checkpoint, metrics) are UNIMPLEMENTED.
 */
export function createMemoryRuntime(): MemoryRuntime {
  const sandboxes = new Store<MemorySandbox>('sandbox')
  const containers = new Store<MemoryContainer>('container')
  const images = createMemoryImages()
  const { emit, events } = createEvents()
  const containersOf = (sandbox: MemorySandbox) => containers.all().filter(({ sandboxId }) => sandboxId === sandbox.id)

  const end = (container: MemoryContainer, exitCode: number, reason: string) => {
    if (stateOf(container) !== ContainerState.CONTAINER_RUNNING) return
    Object.assign(container, { finishedAt: now(), exitCode, reason })
    emit(container.id, ContainerEventType.CONTAINER_STOPPED_EVENT)
  }
  const removeContainer = (container: MemoryContainer) => {
    end(container, 137, 'Error')
    containers.delete(container)
    emit(container.id, ContainerEventType.CONTAINER_DELETED_EVENT)
  }
  const stopSandbox = (sandbox: MemorySandbox) => {
    for (const container of containersOf(sandbox)) end(container, 137, 'Error')
    if (sandbox.ready) emit(sandbox.id, ContainerEventType.CONTAINER_STOPPED_EVENT)
    sandbox.ready = false
  }

  const listSandboxes: RuntimeService['listPodSandbox'] = async ({ filter }) => {
    const wanted = filter?.id ? idIn(sandboxes, filter.id) : undefined
    const items = sandboxes
      .all()
      .filter(({ id }) => !filter?.id || id === wanted)
      .filter(({ ready }) => !filter?.state || ready === (filter.state.state === PodSandboxState.SANDBOX_READY))
      .filter(({ config }) => hasLabels(config.labels, filter?.labelSelector))
    return { items: items.map(sandboxOf) }
  }
  const listContainers: RuntimeService['listContainers'] = async ({ filter }) => {
    const wanted = filter?.id ? idIn(containers, filter.id) : undefined
    const sandbox = filter?.podSandboxId ? idIn(sandboxes, filter.podSandboxId) : undefined
    const found = containers
      .all()
      .filter(({ id }) => !filter?.id || id === wanted)
      .filter(({ sandboxId }) => !filter?.podSandboxId || sandboxId === sandbox)
      .filter((container) => !filter?.state || stateOf(container) === filter.state.state)
      .filter(({ config }) => hasLabels(config.labels, filter?.labelSelector))
    return { containers: found.map(containerOf) }
  }

  const runtimeService: RuntimeService = {
    ...unimplementedCalls,
    version: async () => ({
      version: '0.1.0',
      runtimeName: 'memory',
      runtimeVersion: '0.1.0',
      runtimeApiVersion: 'v1',
    }),
    status: async () =>
      StatusResponse.fromPartial({
        status: { conditions: ['RuntimeReady', 'NetworkReady'].map((type) => ({ type, status: true })) },
        runtimeHandlers: [{ name: '' }] as RuntimeHandler[],
      }),
    updateRuntimeConfig: async () => ({}),

    runPodSandbox: async ({ config, runtimeHandler }) => {
      if (!config?.metadata) throw new CriError('INVALID_ARGUMENT', 'cannot run a sandbox: its config has no metadata')
      if (runtimeHandler) throw new CriError('UNKNOWN', `no runtime for "${runtimeHandler}" is configured`)
      const { name, namespace, uid, attempt } = config.metadata
      const copy = PodSandboxConfig.fromPartial(structuredClone(config))
      const { id } = sandboxes.add([name, namespace, uid, attempt].join('_'), (id) => ({
        id,
        name: [name, namespace, uid, attempt].join('_'),
        config: copy,
        createdAt: now(),
        ready: true,
        runtimeHandler,
      }))
      emit(id, ContainerEventType.CONTAINER_CREATED_EVENT)
      emit(id, ContainerEventType.CONTAINER_STARTED_EVENT)
      return { podSandboxId: id }
    },
    stopPodSandbox: async ({ podSandboxId }) => {
      const sandbox = sandboxes.find(podSandboxId)
      if (sandbox) stopSandbox(sandbox)
      return {}
    },
    removePodSandbox: async ({ podSandboxId }) => {
      const sandbox = sandboxes.find(podSandboxId)
      if (!sandbox) return {}
      stopSandbox(sandbox)
      for (const container of containersOf(sandbox)) removeContainer(container)
      sandboxes.delete(sandbox)
      emit(sandbox.id, ContainerEventType.CONTAINER_DELETED_EVENT)
      return {}
    },
    podSandboxStatus: async ({ podSandboxId }) => {
      const sandbox = sandboxes.get(podSandboxId)
      const containersStatuses = containersOf(sandbox).map((container) => containerStatusOf(container))
      const { metadata, state, createdAt, labels, annotations, runtimeHandler, id } = sandboxOf(sandbox)
      const options = sandbox.config.linux?.securityContext?.namespaceOptions
      const status = { id, metadata, state, createdAt, labels, annotations, runtimeHandler }
      const linux = { namespaces: { options: structuredClone(options) } }
      return { status: { ...status, linux }, info: {}, containersStatuses, timestamp: now() }
    },
    listPodSandbox: listSandboxes,
    async *streamPodSandboxes(request) {
      const { items } = await listSandboxes(request)
      if (items.length > 0) yield { podSandboxes: items }
    },

    createContainer: async ({ podSandboxId, config }) => {
      const sandbox = sandboxes.get(podSandboxId)
      if (!sandbox.ready) throw new CriError('UNKNOWN', `sandbox container "${sandbox.id}" is not running`)
      if (!config?.metadata)
        throw new CriError('INVALID_ARGUMENT', 'cannot create a container: its config has no metadata')
      const reference = config.image?.image ?? ''
      const image = images.find(reference)
      if (!image) throw new CriError('NOT_FOUND', `failed to resolve image "${reference}": pull it first`)
      const pod = sandbox.config.metadata
      const parts = [config.metadata.name, pod?.name, pod?.namespace, pod?.uid, config.metadata.attempt]
      const copy = ContainerConfig.fromPartial(structuredClone(config))
      const logPath = copy.logPath ? posix.join(sandbox.config.logDirectory, copy.logPath) : ''
      const { id } = containers.add(parts.join('_'), (id) => ({
        id,
        name: parts.join('_'),
        sandboxId: sandbox.id,
        config: copy,
        image: structuredClone(image),
        logPath,
        createdAt: now(),
        startedAt: 0n,
        finishedAt: 0n,
        exitCode: 0,
        reason: '',
      }))
      emit(id, ContainerEventType.CONTAINER_CREATED_EVENT)
      return { containerId: id }
    },
    startContainer: async ({ containerId }) => {
      const container = containers.get(containerId)
      const state = stateOf(container)
      if (state !== ContainerState.CONTAINER_CREATED)
        throw new CriError(
          'UNKNOWN',
          `cannot start container "${container.id}": container is in ${nameOf(state)} state`,
        )
      if (!sandboxes.get(container.sandboxId).ready)
        throw new CriError('UNKNOWN', `sandbox container "${container.sandboxId}" is not running`)
      container.startedAt = now()
      emit(container.id, ContainerEventType.CONTAINER_STARTED_EVENT)
      return {}
    },
    stopContainer: async ({ containerId, timeout }) => {
      const container = containers.find(containerId)
      // With time to end, the program obeys SIGTERM (128 + 15) at once; without, SIGKILL (128 + 9).
      if (container) end(container, timeout > 0n ? 143 : 137, 'Error')
      return {}
    },
    removeContainer: async ({ containerId }) => {
      const container = containers.find(containerId)
      if (container) removeContainer(container)
      return {}
    },
    listContainers,
    async *streamContainers(request) {
      const found = await listContainers(request)
      if (found.containers.length > 0) yield found
    },
    containerStatus: async ({ containerId }) => ({
      status: containerStatusOf(containers.get(containerId)),
      info: {},
    }),
    updateContainerResources: async ({ containerId, linux }) => {
      const container = containers.get(containerId)
      if (linux) container.config.linux = mergeResources(container.config.linux, linux)
      return {}
    },
    updatePodSandboxResources: async ({ podSandboxId }) => {
      sandboxes.get(podSandboxId)
      return {}
    },
    getContainerEvents: (_request, { signal } = {}) => events(signal),
  }

  const exit = (containerId: string, exitCode: number, reason?: string): void => {
    const container = containers.get(containerId)
    const state = stateOf(container)
    if (state !== ContainerState.CONTAINER_RUNNING)
      throw new Error(`cannot end container "${containerId}": it is in ${nameOf(state)} state; start it first`)
    end(container, exitCode, reason ?? (exitCode === 0 ? 'Completed' : 'Error'))
  }
  return { runtimeService, imageService: images.service, exit }
}

/** The ID that a filter names; undefined, so that nothing matches, when there is none or several: lists never fail. */
function idIn<T extends { id: string; name: string }>(store: Store<T>, id: string): string | undefined {
  const found = store.all().filter((object) => object.id.startsWith(id))
  return found.length === 1 ? found[0]?.id : undefined
}

function nameOf(state: ContainerState): string {
  return Object.entries(ContainerState).find(([, value]) => value === state)?.[0] ?? String(state)
}
