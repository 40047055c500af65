// What the runtime in memory stores, and the messages that show it. Messages are copies: callers may change them.
import {
  type Container,
  type ContainerConfig,
  ContainerState,
  type ContainerStatus,
  ContainerStatus as ContainerStatusMessage,
  type Image,
  type PodSandbox,
  type PodSandboxConfig,
  PodSandboxState,
  Signal,
} from '../gen/runtime.ts'

export interface MemorySandbox {
  id: string
  name: string
  config: PodSandboxConfig
  createdAt: bigint
  ready: boolean
  runtimeHandler: string
}

export interface MemoryContainer {
  id: string
  name: string
  sandboxId: string
  config: ContainerConfig
  image: Image
  logPath: string
  createdAt: bigint
  startedAt: bigint
  finishedAt: bigint
  exitCode: number
  reason: string
}

/** The state follows from the times. */
export function stateOf({ startedAt, finishedAt }: MemoryContainer): ContainerState {
  if (finishedAt) return ContainerState.CONTAINER_EXITED
  return startedAt ? ContainerState.CONTAINER_RUNNING : ContainerState.CONTAINER_CREATED
}

export function sandboxOf({ id, config, createdAt, ready, runtimeHandler }: MemorySandbox): PodSandbox {
  const { metadata, labels, annotations } = structuredClone(config)
  const state = ready ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY
  return { id, metadata, state, createdAt, labels, annotations, runtimeHandler }
}

export function containerOf(container: MemoryContainer): Container {
  const { id, sandboxId, createdAt, image: stored } = container
  const { metadata, labels, annotations, image } = structuredClone(container.config)
  const shared = { id, metadata, image, createdAt, labels, annotations }
  return { ...shared, podSandboxId: sandboxId, state: stateOf(container), imageRef: stored.id, imageId: stored.id }
}

export function containerStatusOf(container: MemoryContainer): ContainerStatus {
  const { id, createdAt, startedAt, finishedAt, exitCode, reason, logPath, image } = container
  const { metadata, labels, annotations, mounts, linux, stopSignal, image: asked } = structuredClone(container.config)
  return ContainerStatusMessage.fromPartial({
    id,
    metadata,
    createdAt,
    startedAt,
    finishedAt,
    exitCode,
    reason,
    logPath,
    labels,
    annotations,
    mounts,
    state: stateOf(container),
    image: {
      ...asked,
      image: image.repoTags[0] ?? asked?.image ?? '',
    },
    imageRef: image.repoDigests[0] ?? image.id,
    imageId: image.id,
    ...(linux?.resources && { resources: { linux: linux.resources } }),
    stopSignal: stopSignal === Signal.RUNTIME_DEFAULT ? Signal.SIGTERM : stopSignal,
  })
}
