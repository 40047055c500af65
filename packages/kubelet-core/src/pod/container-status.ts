// The status of one container from what the runtime has of it. Pure.
import type {
  Container,
  ContainerState,
  ContainerStateTerminated,
  ContainerStatus,
  ResourceRequirements,
} from 'kubernetes-types/core/v1.d.ts'
import type { DeviceHealth } from '../device/manager.ts'
import { absolute } from './mount-rules.ts'
import type { RuntimeContainer } from './runtime-pod.ts'
import { isReady, isStarted, type Liveliness } from './started.ts'
import { apiTime } from './time.ts'

/** Why a container waits. */
export interface Waiting {
  reason: string
  message?: string
}

export interface ContainerStatusFacts extends Liveliness {
  runtimeName: string
  /** Of this name, newest first. */
  history: readonly RuntimeContainer[]
  /** Why it does not run; undefined when nothing is known against it. */
  waiting: Waiting | undefined
  /** What to say before there is anything: `ContainerCreating` or `PodInitializing`. */
  initial: string
  /** Resource → devices, and how they are. */
  devices?: ReadonlyMap<string, DeviceHealth[]> | undefined
  /** The resources that the runtime was told; undefined: those of the spec. */
  actuated?: ResourceRequirements | undefined
  /** As it was last told, by this kubelet or one before. */
  previous: ContainerStatus | undefined
  /** All containers of the pod are being restarted in place. */
  restartingAll?: boolean
  /** It will not start again. */
  final: boolean
  nowMs: number
}

type NewerStatus = ContainerStatus & {
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean; recursiveReadOnly?: string }[]
  allocatedResourcesStatus?: { name: string; resources: DeviceHealth[] }[]
  user?: { linux: { uid: number; gid: number; supplementalGroups: number[] } }
}

export function containerStatus(container: Container, facts: ContainerStatusFacts): ContainerStatus {
  const [current, ...older] = facts.history
  if (!current) return absentStatus(container, facts)
  const state = stateOf(current, facts.runtimeName)
  const lastExit = older.find(({ phase }) => phase === 'exited')
  const waits = facts.waiting && !state.running && !facts.final
  // One whose predecessor was removed is told of as it was before.
  const told = current.attempt > 0 ? facts.previous?.lastState?.terminated : undefined
  const before = lastExit ? terminatedOf(lastExit, facts.runtimeName) : told
  const last = waits && state.terminated ? state.terminated : before
  const resources = state.running && container.resources
  const status: NewerStatus = {
    name: container.name,
    state: waits ? { waiting: { ...facts.waiting } } : state,
    lastState: last ? { terminated: last } : {},
    ready: isReady(container, current, facts),
    started: isStarted(container, current, facts),
    restartCount: current.attempt,
    image: current.image,
    imageID: current.imageRef,
    containerID: `${facts.runtimeName}://${current.id}`,
    ...(resources && { resources: facts.actuated ?? resources }),
    ...(resources && resources.requests && { allocatedResources: resources.requests }),
    ...(facts.devices?.size && {
      allocatedResourcesStatus: [...facts.devices].map(([name, devices]) => ({ name, resources: devices })),
    }),
    ...(container.volumeMounts && { volumeMounts: mountsOf(container, current) }),
    ...(current.user && { user: { linux: current.user } }),
  }
  return status
}

function mountsOf(container: Container, { mounts }: RuntimeContainer): NonNullable<NewerStatus['volumeMounts']> {
  const recursive = new Set(mounts.flatMap((mount) => (mount.recursiveReadOnly ? [mount.containerPath] : [])))
  return (container.volumeMounts ?? []).map(({ name, mountPath, readOnly }) => ({
    name,
    mountPath,
    ...(readOnly && { readOnly, recursiveReadOnly: recursive.has(absolute(mountPath)) ? 'Enabled' : 'Disabled' }),
  }))
}

/** Nothing in the runtime: not made yet, or made and vanished. */
function absentStatus(container: Container, facts: ContainerStatusFacts): ContainerStatus {
  const { previous, waiting, initial, runtimeName, restartingAll } = facts
  if (restartingAll && previous?.containerID) return restartingStatus(container, previous)
  const base: ContainerStatus = {
    name: container.name,
    state: { waiting: waiting ? { ...waiting } : { reason: initial } },
    lastState: {},
    ready: false,
    started: false,
    restartCount: 0,
    image: container.image ?? '',
    imageID: '',
  }
  if (!previous?.containerID?.startsWith(`${runtimeName}://`)) return base
  const lost = vanished(previous)
  if (!lost) {
    const waits = previous.state?.waiting && waiting && !facts.final
    return waits ? { ...previous, state: { waiting: { ...waiting } } } : previous
  }
  const { containerID, imageID, image, restartCount } = previous
  if (facts.final) return { ...base, image, imageID, containerID, restartCount, state: { terminated: lost } }
  return { ...base, image, imageID, containerID, restartCount: restartCount + 1, lastState: { terminated: lost } }
}

/** Of a pod that has ended: what has not told its end by then, of the first so many, has ended somehow. */
export function finalStatuses(statuses: readonly ContainerStatus[], count: number): ContainerStatus[] {
  return statuses.map((status, index) => {
    if (status.state?.terminated || index >= count) return status
    const message = 'The container could not be located when the pod was terminated'
    const { containerID } = status
    const terminated = { exitCode: 137, reason: 'ContainerStatusUnknown', message, ...(containerID && { containerID }) }
    return { ...status, ready: false, started: false, state: { terminated } }
  })
}

/** Removed so that all start anew. */
function restartingStatus(container: Container, previous: ContainerStatus): ContainerStatus {
  const { containerID, image, imageID, restartCount, lastState, state } = previous
  const reason = 'RestartingAllContainers'
  const message = 'The container is removed because RestartAllContainers in place'
  const ended = { exitCode: 137, reason, message, ...(containerID && { containerID }) }
  const known = state?.waiting?.reason === reason ? lastState?.terminated : undefined
  return {
    name: container.name,
    state: { waiting: { reason } },
    lastState: { terminated: known ?? state?.terminated ?? ended },
    ready: false,
    started: false,
    restartCount,
    image,
    imageID,
    ...(containerID && { containerID }),
  }
}

function vanished({ state, containerID }: ContainerStatus): ContainerStateTerminated | undefined {
  if (!state?.running) return undefined
  return {
    exitCode: 137,
    reason: 'ContainerStatusUnknown',
    message: 'The container could not be located when the pod was deleted.  The container used to be Running',
    ...(containerID && { containerID }),
  }
}

function stateOf(current: RuntimeContainer, runtimeName: string): ContainerState {
  if (current.phase === 'created') return { waiting: {} }
  if (current.phase === 'running') return { running: { startedAt: apiTime(current.startedMs) } }
  return { terminated: terminatedOf(current, runtimeName) }
}

export function terminatedOf(container: RuntimeContainer, runtimeName: string): ContainerStateTerminated {
  const { id, exitCode, reason, message, startedMs, finishedMs, phase } = container
  const containerID = `${runtimeName}://${id}`
  if (phase === 'unknown') {
    const text = 'The container could not be located when the pod was terminated'
    return { exitCode: 137, reason: 'ContainerStatusUnknown', message: text, containerID }
  }
  return {
    exitCode,
    reason: reason || (exitCode === 0 ? 'Completed' : 'Error'),
    ...(message && { message }),
    startedAt: apiTime(startedMs),
    finishedAt: apiTime(finishedMs),
    containerID,
  }
}
