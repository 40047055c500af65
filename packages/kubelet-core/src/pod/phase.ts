// The phase of a pod from its spec and container statuses. Pure.
import type { ContainerStatus, Pod } from 'kubernetes-types/core/v1.d.ts'
import { mayRestart, type RestartableContainer, type RestartPolicy } from './restart.ts'

export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed'

export interface PhaseFacts {
  initContainerStatuses?: ContainerStatus[]
  containerStatuses?: ContainerStatus[]
  /** The pod is being torn down. */
  terminal?: boolean
  /** The pod comes from a file or URL, not from the API. */
  static?: boolean
}

/** The phase of a pod; a phase that was `Succeeded` or `Failed` already is for the caller to keep. */
export function podPhase(pod: Pod, facts: PhaseFacts): PodPhase {
  const podPolicy = (pod.spec?.restartPolicy ?? 'Always') as RestartPolicy
  const inits = countInits(pod, facts, podPolicy)
  const regular = countRegular(pod, facts, podPolicy)
  if (inits.failedForGood > 0) return 'Failed'
  if (
    inits.pending > 0 ||
    (inits.pendingSidecars > 0 && !hasInitialized(inits, facts)) ||
    regular.waiting + inits.waiting > 0
  ) {
    return 'Pending'
  }
  const running = regular.running + inits.running
  const unknown = regular.unknown + inits.unknown
  if (unknown > 0) return 'Pending'
  if (running > 0) return 'Running'
  if (regular.stopped === 0) return 'Pending'
  const finished: PodPhase = regular.stopped === regular.succeeded ? 'Succeeded' : 'Failed'
  if (facts.terminal && !facts.static) return finished
  return regular.stopped === regular.final ? finished : 'Running'
}

type InitCounts = ReturnType<typeof countInits>

function countInits(pod: Pod, facts: PhaseFacts, podPolicy: RestartPolicy) {
  const counts = { pending: 0, unfinished: 0, failedForGood: 0, pendingSidecars: 0, running: 0, waiting: 0, unknown: 0 }
  for (const container of (pod.spec?.initContainers ?? []) as RestartableContainer[]) {
    const status = facts.initContainerStatuses?.find(({ name }) => name === container.name)
    if (container.restartPolicy === 'Always') countSidecar(counts, status)
    else countInit(counts, status, container, podPolicy)
  }
  return counts
}

function countSidecar(counts: InitCounts, status: ContainerStatus | undefined): void {
  if (!status?.state) {
    counts.unknown++
  } else if (status.state.running) {
    counts.running++
    if (!status.started) counts.pendingSidecars++
  } else if (status.state.waiting && !status.lastState?.terminated) {
    counts.pendingSidecars++
    counts.waiting++
  }
}

function countInit(
  counts: InitCounts,
  status: ContainerStatus | undefined,
  container: RestartableContainer,
  policy: RestartPolicy,
): void {
  const exit = exitOf(status)
  if (exit !== 0) counts.unfinished++
  if (exit === undefined) counts.pending++
  else if (exit !== 0 && !mayRestart(container, policy, exit)) counts.failedForGood++
}

function countRegular(pod: Pod, facts: PhaseFacts, podPolicy: RestartPolicy) {
  const counts = { running: 0, waiting: 0, stopped: 0, succeeded: 0, final: 0, unknown: 0 }
  for (const container of pod.spec?.containers ?? []) {
    const status = facts.containerStatuses?.find(({ name }) => name === container.name)
    const exit = exitOf(status)
    if (!status?.state || Object.values(status.state).every((state) => !state)) counts.unknown++
    else if (status.state.running) counts.running++
    else if (exit === undefined) counts.waiting++
    else {
      counts.stopped++
      if (status.state.terminated && exit === 0) counts.succeeded++
      if (!mayRestart(container, podPolicy, exit)) counts.final++
    }
  }
  return counts
}

function exitOf(status: ContainerStatus | undefined): number | undefined {
  if (status?.state?.running) return undefined
  return (status?.state?.terminated ?? status?.lastState?.terminated)?.exitCode
}

function hasInitialized(inits: InitCounts, facts: PhaseFacts): boolean {
  const existed = facts.containerStatuses?.some(
    ({ state, lastState }) => state?.running ?? state?.terminated ?? lastState?.terminated,
  )
  return Boolean(existed) || (inits.unfinished === 0 && inits.pendingSidecars === 0)
}
