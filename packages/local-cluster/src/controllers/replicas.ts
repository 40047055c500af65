// What a ReplicaSet does next. Pure.
import { labelSelectorOf, matchesLabels } from '@nodelet/kube-client'
import type { ReplicaSet, ReplicaSetCondition } from 'kubernetes-types/apps/v1.d.ts'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { LabelSelector } from 'kubernetes-types/meta/v1.d.ts'
import { timeNow } from '../object.ts'

/** Whether a selector, expressions too, takes these labels. An empty one takes none: it would take what is others'. */
export function selects(selector: LabelSelector | undefined, labels: Record<string, string> | undefined): boolean {
  const requirements = labelSelectorOf(selector ?? {})
  return requirements.length > 0 && matchesLabels(requirements, labels)
}

const phaseRank: Readonly<Record<string, number>> = { Pending: 0, Unknown: 1, Running: 2 }

export const isReadyPod = (pod: Pod): boolean =>
  pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false

export const isOver = ({ status }: Pod): boolean => status?.phase === 'Succeeded' || status?.phase === 'Failed'

export const isActive = (pod: Pod): boolean => !isOver(pod) && !pod.metadata?.deletionTimestamp

/** Milliseconds since the epoch; undefined while the pod is not ready. */
function readySince(pod: Pod): number | undefined {
  const since = pod.status?.conditions?.find(
    ({ type, status }) => type === 'Ready' && status === 'True',
  )?.lastTransitionTime
  return since === undefined ? undefined : Date.parse(since)
}

/**
 * Those that go first when there are too many: unassigned, pending, not ready, cheaper, ready for less long, restarted
 * more often, younger.
 */
export function byDeletion(a: Pod, b: Pod): number {
  const rank = (pod: Pod): number[] => [
    pod.spec?.nodeName ? 1 : 0,
    phaseRank[pod.status?.phase ?? 'Pending'] ?? 1,
    isReadyPod(pod) ? 1 : 0,
    Number(pod.metadata?.annotations?.['controller.kubernetes.io/pod-deletion-cost'] ?? 0),
    -(readySince(pod) ?? 0),
    -Math.max(0, ...(pod.status?.containerStatuses ?? []).map(({ restartCount }) => restartCount)),
    -Date.parse(pod.metadata?.creationTimestamp ?? '') || 0,
  ]
  const [left, right] = [rank(a), rank(b)]
  const at = left.findIndex((value, index) => value !== right[index])
  return at < 0 ? 0 : (left[at] ?? 0) - (right[at] ?? 0)
}

export interface ReplicaPlan {
  create: number
  remove: Pod[]
}

/** @param active pods of the set that neither ended nor go */
export function replicaPlan(set: ReplicaSet, active: readonly Pod[]): ReplicaPlan {
  const missing = (set.spec?.replicas ?? 1) - active.length
  return missing >= 0
    ? { create: missing, remove: [] }
    : { create: 0, remove: active.toSorted(byDeletion).slice(0, -missing) }
}

/** Why there are too few pods, or too many. */
export interface ReplicaFailure {
  reason: 'FailedCreate' | 'FailedDelete'
  error: Error
}

const failureType = 'ReplicaFailure'

/** Conditions after an attempt; one that still holds keeps its time. */
function conditionsOf({ status }: ReplicaSet, now: number, failure: ReplicaFailure | undefined): ReplicaSetCondition[] {
  const before = status?.conditions ?? []
  const others = before.filter(({ type }) => type !== failureType)
  if (!failure) return others
  const old = before.find(({ type }) => type === failureType)
  if (old?.reason === failure.reason && old.message === failure.error.message) return before
  const { reason, error } = failure
  const lastTransitionTime = timeNow(new Date(now))
  return [...others, { type: failureType, status: 'True', reason, message: error.message, lastTransitionTime }]
}

/** The status that pods add up to, and when it may change by time alone. @param failure of the last attempt */
export function replicaStatus(
  set: ReplicaSet,
  active: readonly Pod[],
  now: number,
  failure?: ReplicaFailure,
): { status: NonNullable<ReplicaSet['status']>; nextMs: number | undefined } {
  const template = Object.entries(set.spec?.template?.metadata?.labels ?? {})
  const wait = (set.spec?.minReadySeconds ?? 0) * 1000
  const ready = active.flatMap((pod) => readySince(pod) ?? []).map((since) => now - since)
  const soon = ready.filter((age) => age < wait).map((age) => wait - age)
  const labelled = active.filter((pod) => template.every(([key, value]) => pod.metadata?.labels?.[key] === value))
  const { generation } = set.metadata ?? {}
  const conditions = conditionsOf(set, now, failure)
  return {
    status: {
      replicas: active.length,
      fullyLabeledReplicas: labelled.length,
      readyReplicas: ready.length,
      availableReplicas: ready.filter((age) => age >= wait).length,
      ...((conditions.length > 0 || set.status?.conditions) && { conditions }),
      ...(generation !== undefined && { observedGeneration: generation }),
    },
    nextMs: soon.length > 0 ? Math.min(...soon) : undefined,
  }
}

/** Batches of 1, 2, 4, …: a failure in a small one keeps the large ones from being tried. */
export function batches(count: number): number[] {
  const sizes: number[] = []
  for (let left = count, size = 1; left > 0; size *= 2) {
    sizes.push(Math.min(size, left))
    left -= size
  }
  return sizes
}
