// What a ReplicaSet does next. Pure.
import { labelSelectorOf, matchesLabels } from '@nodelet/kube-client'
import type { ReplicaSet } from 'kubernetes-types/apps/v1.d.ts'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { LabelSelector } from 'kubernetes-types/meta/v1.d.ts'

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

/** Milliseconds since the pod is ready; undefined while it is not. */
function readyFor(pod: Pod, now: number): number | undefined {
  const since = pod.status?.conditions?.find(
    ({ type, status }) => type === 'Ready' && status === 'True',
  )?.lastTransitionTime
  return since === undefined ? undefined : now - Date.parse(since)
}

/** Those that go first when there are too many: unassigned, pending, not ready, expensive last, younger first. */
export function byDeletion(a: Pod, b: Pod): number {
  const rank = (pod: Pod): number[] => [
    pod.spec?.nodeName ? 1 : 0,
    phaseRank[pod.status?.phase ?? 'Pending'] ?? 1,
    isReadyPod(pod) ? 1 : 0,
    Number(pod.metadata?.annotations?.['controller.kubernetes.io/pod-deletion-cost'] ?? 0),
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

/** The status that pods add up to, and when it may change by time alone. */
export function replicaStatus(
  set: ReplicaSet,
  active: readonly Pod[],
  now: number,
): { status: NonNullable<ReplicaSet['status']>; nextMs: number | undefined } {
  const template = Object.entries(set.spec?.template?.metadata?.labels ?? {})
  const wait = (set.spec?.minReadySeconds ?? 0) * 1000
  const ready = active.flatMap((pod) => readyFor(pod, now) ?? [])
  const soon = ready.filter((age) => age < wait).map((age) => wait - age)
  const labelled = active.filter((pod) => template.every(([key, value]) => pod.metadata?.labels?.[key] === value))
  const { generation } = set.metadata ?? {}
  return {
    status: {
      replicas: active.length,
      fullyLabeledReplicas: labelled.length,
      readyReplicas: ready.length,
      availableReplicas: ready.filter((age) => age >= wait).length,
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
