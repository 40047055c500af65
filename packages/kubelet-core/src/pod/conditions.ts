// The conditions of a pod that the kubelet owns. Pure.
import type { Container, ContainerStatus, Pod, PodCondition } from 'kubernetes-types/core/v1.d.ts'
import { isSidecar } from './actions.ts'
import type { PodPhase } from './phase.ts'
import type { Pending } from '../resize/decide.ts'
import { apiTime } from './time.ts'

/** Newer API servers know of which generation a condition speaks. */
export type ObservedCondition = PodCondition & { observedGeneration?: number }

export interface ConditionFacts {
  phase: PodPhase
  containerStatuses: readonly ContainerStatus[]
  initContainerStatuses: readonly ContainerStatus[]
  /** There is a sandbox with its network. */
  sandboxReady: boolean
  initialized: boolean
  /** Conditions as they were: times and foreign types come from here. */
  previous: readonly ObservedCondition[]
  /** Why the kubelet ends the pod for the sake of others. */
  disruption?: string | undefined
  resize?: ResizeState | undefined
  /** All containers are being restarted in place. */
  restartingAll?: boolean | undefined
  nowMs: number
}

/** How far a resize has come; nothing set: none is wanted. */
export interface ResizeState {
  /** What was last wanted, as JSON. */
  wish?: string | undefined
  pending?: Pending | undefined
  /** Given and being applied; with what went wrong last. */
  progress?: { error?: string } | undefined
}

type Verdict = Pick<PodCondition, 'status' | 'reason' | 'message'>

export const ownedConditions: ReadonlySet<string> = new Set([
  'PodReadyToStartContainers',
  'Initialized',
  'Ready',
  'ContainersReady',
  'PodScheduled',
  'DisruptionTarget',
  'PodResizePending',
  'PodResizeInProgress',
  'AllContainersRestarting',
])

/** Those that go when they no longer apply. */
export const passingConditions: ReadonlySet<string> = new Set([
  'PodResizePending',
  'PodResizeInProgress',
  'AllContainersRestarting',
])

/** All conditions: the owned ones, then those of others as they were. */
export function podConditions(pod: Pod, facts: ConditionFacts): ObservedCondition[] {
  const containersReady = containersReadyOf(pod, facts)
  const verdicts: [string, Verdict][] = [
    ['PodReadyToStartContainers', { status: facts.sandboxReady ? 'True' : 'False' }],
    ['Initialized', initializedOf(pod, facts)],
    ['Ready', readyOf(pod, containersReady, facts.previous)],
    ['ContainersReady', containersReady],
    ['PodScheduled', { status: 'True' }],
    ...(facts.disruption === undefined ? [] : [disrupted(facts.disruption)]),
    ...resizing(facts.resize),
    ...(facts.restartingAll ? [restarting] : []),
  ]
  const generation = pod.metadata?.generation
  const owned = verdicts.map(([type, verdict]): ObservedCondition => {
    const before = facts.previous.find((condition) => condition.type === type)
    const same = before?.status === verdict.status && before.lastTransitionTime
    return {
      type,
      ...verdict,
      lastProbeTime: null as never, // the API has null there, its types have not
      lastTransitionTime: same || apiTime(facts.nowMs),
      ...(generation !== undefined && { observedGeneration: generation }),
    }
  })
  // One that was told stays told, whoever told it.
  return [
    ...owned,
    ...facts.previous.filter(({ type }) => !owned.some((one) => one.type === type) && !passingConditions.has(type)),
  ]
}

const disrupted = (message: string): [string, Verdict] => [
  'DisruptionTarget',
  { status: 'True', reason: 'TerminationByKubelet', message },
]

const restarting: [string, Verdict] = [
  'AllContainersRestarting',
  { status: 'True', reason: 'RestartAllContainersStarted' },
]

function resizing({ pending, progress }: ResizeState = {}): [string, Verdict][] {
  const error = progress?.error
  return [
    ...(pending ? [['PodResizePending', { status: 'True', ...pending }] satisfies [string, Verdict]] : []),
    ...(progress
      ? [
          [
            'PodResizeInProgress',
            { status: 'True', ...(error !== undefined && { reason: 'Error', message: error }) },
          ] satisfies [string, Verdict],
        ]
      : []),
  ]
}

function initializedOf(pod: Pod, { phase, initialized, initContainerStatuses }: ConditionFacts): Verdict {
  if (phase === 'Succeeded') return { status: 'True', reason: 'PodCompleted' }
  if (initialized) return { status: 'True' }
  const incomplete = (pod.spec?.initContainers ?? []).filter((container) => {
    const status = initContainerStatuses.find(({ name }) => name === container.name)
    return isSidecar(container) ? !status?.started : !status?.ready
  })
  const message = `containers with incomplete status: [${namesOf(incomplete)}]`
  return { status: 'False', reason: 'ContainersNotInitialized', message }
}

function containersReadyOf(pod: Pod, { phase, containerStatuses, initContainerStatuses }: ConditionFacts): Verdict {
  if (phase === 'Succeeded') return { status: 'False', reason: 'PodCompleted' }
  if (phase === 'Failed') return { status: 'False', reason: 'PodFailed' }
  const sidecars = (pod.spec?.initContainers ?? []).filter(isSidecar)
  const counted = [...sidecars, ...(pod.spec?.containers ?? [])]
  const statuses = [...initContainerStatuses, ...containerStatuses]
  const statusOf = (container: Container) => statuses.find(({ name }) => name === container.name)
  const unknown = counted.filter((container) => !statusOf(container))
  const unready = counted.filter((container) => statusOf(container)?.ready === false)
  if (unknown.length + unready.length === 0) return { status: 'True' }
  const parts = [
    ...(unknown.length > 0 ? [`containers with unknown status: [${namesOf(unknown)}]`] : []),
    ...(unready.length > 0 ? [`containers with unready status: [${namesOf(unready)}]`] : []),
  ]
  return { status: 'False', reason: 'ContainersNotReady', message: parts.join(', ') }
}

function readyOf(pod: Pod, containersReady: Verdict, conditions: readonly PodCondition[]): Verdict {
  if (containersReady.status !== 'True') return containersReady
  const problems = (pod.spec?.readinessGates ?? []).flatMap(({ conditionType }) => {
    const found = conditions.find(({ type }) => type === conditionType)
    if (!found) return [`corresponding condition of pod readiness gate "${conditionType}" does not exist.`]
    if (found.status === 'True') return []
    return [`the status of pod readiness gate "${conditionType}" is not "True", but ${found.status}`]
  })
  if (problems.length === 0) return { status: 'True' }
  return { status: 'False', reason: 'ReadinessGatesNotReady', message: problems.join(', ') }
}

const namesOf = (containers: readonly Container[]): string => containers.map(({ name }) => name).join(' ')
