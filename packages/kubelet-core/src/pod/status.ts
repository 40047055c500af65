// The status of a pod from what the runtime has of it. Pure.
import type { Container, ContainerStatus, Pod, PodStatus, ResourceRequirements } from 'kubernetes-types/core/v1.d.ts'
import { qosClass } from '../resource/qos.ts'
import { ephemeralContainers, isSidecar, policyOf } from './actions.ts'
import type { DeviceHealth } from '../device/manager.ts'
import { podLevelOf } from '../resource/pod-level.ts'
import { type Allocation, wholePod } from '../resize/allocation.ts'
import { podConditions, type ResizeState } from './conditions.ts'
import { containerStatus, finalStatuses, type Waiting } from './container-status.ts'
import { isStatic } from './labels.ts'
import { podPhase, type PodPhase } from './phase.ts'
import { mayRestart } from './restart.ts'
import { newestOf, type RuntimePod } from './runtime-pod.ts'
import { isStarted, type Liveliness } from './started.ts'
import { apiTime } from './time.ts'
import type { PodFailure } from './worker.ts'

/** Newer API servers know of which generation a status speaks. */
export type ObservedStatus = PodStatus & {
  observedGeneration?: number
  /** Of the pod as a whole: what it has, and what it was given. */
  resources?: ResourceRequirements
  allocatedResources?: Record<string, string>
}

export interface StatusFacts extends Liveliness {
  runtime: RuntimePod
  runtimeName: string
  /** By container name. */
  waiting: ReadonlyMap<string, Waiting>
  hostIPs: readonly string[]
  /** As last told, or as the API has it. */
  previous: ObservedStatus | undefined
  /** The pod is being torn down. */
  terminating?: boolean
  /** That is done: nothing of it runs any more. */
  ended?: boolean
  /** The phase that is told as long as something still runs of a pod that has failed or succeeded. */
  heldBack?: PodPhase | undefined
  /** Why the pod as a whole failed, such as `DeadlineExceeded`. */
  failure?: PodFailure | undefined
  resize?: ResizeState | undefined
  restartingAll?: boolean | undefined
  /** Resource → devices of a container, and how they are. */
  devicesOf?(container: string): ReadonlyMap<string, DeviceHealth[]>
  /** What the runtime was told of each container's resources; undefined: as the spec has them. */
  actuated?: Allocation | undefined
  nowMs: number
}

const maxMessages = 12 * 1024

export function podStatus(pod: Pod, facts: StatusFacts): ObservedStatus {
  const { runtime, previous, hostIPs, nowMs } = facts
  const inits = pod.spec?.initContainers ?? []
  const regular = pod.spec?.containers ?? []
  const initialized = isInitialized(pod, facts)
  const statusOf = (container: Container): ContainerStatus => {
    const init = inits.includes(container)
    const status = containerStatus(container, {
      ...facts,
      history: runtime.containers.filter(({ name }) => name === container.name),
      waiting: facts.waiting.get(container.name),
      initial: inits.length > 0 && !(init || initialized) ? 'PodInitializing' : 'ContainerCreating',
      restartingAll: facts.restartingAll ?? false,
      devices: facts.devicesOf?.(container.name),
      actuated: facts.actuated?.[container.name],
      previous: previousOf(previous, container.name),
      final: isFinal(pod, container, facts),
    })
    if (!init || isSidecar(container)) return status
    return { ...status, ready: status.state?.terminated?.exitCode === 0 }
  }
  const cut = messageCutter(inits.length + regular.length)
  const isOver = previous?.phase === 'Succeeded' || previous?.phase === 'Failed'
  const settle = facts.ended && !isOver ? finalStatuses : (statuses: ContainerStatus[]) => statuses
  const initContainerStatuses = settle(
    inits.map(statusOf),
    initialized ? inits.length : lastStarted(runtime, inits),
  ).map(cut)
  const containerStatuses = settle(regular.map(statusOf), initialized || inits.length === 0 ? regular.length : 0)
    .map(cut)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
  const ephemeral = ephemeralContainers(pod).map(statusOf).map(cut)
  const phase = phaseOf(pod, facts, initContainerStatuses, containerStatuses)
  const sandbox = runtime.sandboxes[0]
  const ownIPs = pod.spec?.hostNetwork ? hostIPs : (sandbox?.ips ?? [])
  const sandboxReady = Boolean(sandbox?.ready && ownIPs.length > 0)
  // One that has ended had them; they are told until others take their place.
  const known = runtime.sandboxes.some(({ ready }) => ready) ? [] : (previous?.podIPs ?? [])
  const podIPs = byFamily(ownIPs.length > 0 ? ownIPs : known.flatMap(({ ip }) => ip ?? []), hostIPs[0])
  const generation = pod.metadata?.generation
  const { reason, message } = facts.failure ?? previous ?? {}
  return {
    ...(generation !== undefined && { observedGeneration: generation }),
    phase,
    ...(reason && { reason }),
    ...(message && { message }),
    conditions: podConditions(pod, {
      phase,
      containerStatuses,
      initContainerStatuses,
      sandboxReady,
      initialized,
      previous: previous?.conditions ?? [],
      disruption: facts.failure?.disruption,
      resize: facts.resize,
      restartingAll: facts.restartingAll,
      nowMs,
    }),
    ...(hostIPs[0] && { hostIP: hostIPs[0], hostIPs: hostIPs.map((ip) => ({ ip })) }),
    ...(podIPs[0] && { podIP: podIPs[0], podIPs: podIPs.map((ip) => ({ ip })) }),
    startTime: previous?.startTime ?? apiTime(nowMs),
    ...(inits.length > 0 && { initContainerStatuses }),
    containerStatuses,
    ...(ephemeral.length > 0 && { ephemeralContainerStatuses: ephemeral }),
    qosClass: qosClass(pod),
    // Others' to write; whoever reads our status needs it to know the pod's claims.
    ...(pod.status?.resourceClaimStatuses && { resourceClaimStatuses: pod.status.resourceClaimStatuses }),
    ...podLevelStatus(pod, facts.actuated),
  }
}

function podLevelStatus(
  pod: Pod,
  actuated: Allocation | undefined,
): Pick<ObservedStatus, 'resources' | 'allocatedResources'> {
  const own = podLevelOf(pod)
  if (!own) return {}
  return {
    resources: actuated?.[wholePod] ?? own,
    ...(own.requests && { allocatedResources: own.requests }),
  }
}

function phaseOf(
  pod: Pod,
  facts: StatusFacts,
  initContainerStatuses: ContainerStatus[],
  containerStatuses: ContainerStatus[],
): PodPhase {
  if (facts.heldBack) return facts.heldBack
  const before = facts.previous?.phase
  if (before === 'Succeeded' || before === 'Failed') return before
  if (facts.failure) return 'Failed'
  const terminal = facts.terminating ?? false
  const phase = podPhase(pod, { initContainerStatuses, containerStatuses, terminal, static: isStatic(pod) })
  return facts.ended && !isStatic(pod) && phase !== 'Succeeded' ? 'Failed' : phase
}

const isIPv6 = (ip: string): boolean => ip.includes(':')

/** Those of the node's primary family first. */
const byFamily = (ips: readonly string[], primary = ''): string[] =>
  ips.toSorted((a, b) => Number(isIPv6(a) !== isIPv6(primary)) - Number(isIPv6(b) !== isIPv6(primary)))

/** How many of the init containers there are up to the last one that was made. */
const lastStarted = (runtime: RuntimePod, inits: readonly Container[]): number =>
  inits.findLastIndex(({ name }) => newestOf(runtime, name)) + 1

/** Every plain init container has ended well and every sidecar has started, or a regular container has existed. */
export function isInitialized(pod: Pod, facts: Liveliness & { runtime: RuntimePod }): boolean {
  const { runtime } = facts
  const sandboxId = runtime.sandboxes[0]?.id
  if ((pod.spec?.containers ?? []).some(({ name }) => newestOf(runtime, name, sandboxId))) return true
  return (pod.spec?.initContainers ?? []).every((container) => {
    const last = newestOf(runtime, container.name, sandboxId)
    return isSidecar(container) ? isStarted(container, last, facts) : last?.phase === 'exited' && last.exitCode === 0
  })
}

function isFinal(pod: Pod, container: Container, { runtime, terminating }: StatusFacts): boolean {
  if (terminating) return true
  const last = newestOf(runtime, container.name)
  return last?.phase === 'exited' && !mayRestart(container, policyOf(pod), last.exitCode)
}

function previousOf(previous: PodStatus | undefined, name: string): ContainerStatus | undefined {
  const { initContainerStatuses = [], containerStatuses = [], ephemeralContainerStatuses = [] } = previous ?? {}
  return [...initContainerStatuses, ...containerStatuses, ...ephemeralContainerStatuses].find(
    (status) => status.name === name,
  )
}

/** Termination messages of a pod share 12 KiB. */
function messageCutter(containers: number): (status: ContainerStatus) => ContainerStatus {
  const most = Math.floor(maxMessages / Math.max(1, containers))
  return (status) => {
    const terminated = status.state?.terminated
    if (!terminated?.message || Buffer.byteLength(terminated.message) <= most) return status
    const message = Buffer.from(terminated.message).subarray(0, most).toString()
    return { ...status, state: { terminated: { ...terminated, message } } }
  }
}
