// How a Deployment gets from one template to the next. Pure.
import { createHash } from 'node:crypto'
import { sortKeys } from '../object.ts'
import type { Deployment, DeploymentCondition, ReplicaSet } from 'kubernetes-types/apps/v1.d.ts'

export const hashLabel = 'pod-template-hash'
export const revisionAnnotation = 'deployment.kubernetes.io/revision'
const desiredAnnotation = 'deployment.kubernetes.io/desired-replicas'
const mostAnnotation = 'deployment.kubernetes.io/max-replicas'
const letters = 'bcdfghjklmnpqrstvwxz2456789'
const hashLength = 10

/** A name for a template that only depends on what it says. @param collisions names that others have; default 0 */
export function templateHash(template: unknown, collisions = 0): string {
  const bytes = createHash('sha256')
    .update(JSON.stringify(sortKeys(template)))
    .update(collisions === 0 ? '' : String(collisions))
    .digest()
  return [...bytes.subarray(0, hashLength)].map((byte) => letters[byte % letters.length]).join('')
}

/** Whether a set was made for the Deployment's template. */
export function isCurrent({ spec }: Deployment, set: ReplicaSet): boolean {
  const { [hashLabel]: _, ...labels } = set.spec?.template?.metadata?.labels ?? {}
  const { metadata = {}, spec: podSpec } = set.spec?.template ?? {}
  const own = { ...spec?.template, metadata: { ...spec?.template?.metadata } }
  return templateHash({ metadata: { ...metadata, labels }, spec: podSpec }) === templateHash(own)
}

/** A count, or a percentage of the replicas. */
function resolve(value: number | string | undefined, replicas: number, round: (value: number) => number): number {
  if (typeof value === 'number') return value
  return round((Number.parseInt(value ?? '25%', 10) / 100) * replicas)
}

/** Pods beyond, and pods fewer than the wanted number, that a rollout may have. One of them is more than 0. */
export function rolloutLimits({ spec }: Deployment): { surge: number; unavailable: number } {
  const replicas = spec?.replicas ?? 1
  const { maxSurge, maxUnavailable } = spec?.strategy?.rollingUpdate ?? {}
  const surge = resolve(maxSurge, replicas, Math.ceil)
  const unavailable = resolve(maxUnavailable, replicas, Math.floor)
  return surge === 0 && unavailable === 0
    ? { surge, unavailable: 1 }
    : { surge, unavailable: Math.min(unavailable, replicas) }
}

/** What a set of the Deployment says about its size. */
export function sizeAnnotations(deployment: Deployment): Record<string, string> {
  const replicas = deployment.spec?.replicas ?? 1
  const most = deployment.spec?.strategy?.type === 'Recreate' ? replicas : replicas + rolloutLimits(deployment).surge
  return { [desiredAnnotation]: String(replicas), [mostAnnotation]: String(most) }
}

/** Annotations of a Deployment that mean nothing on its sets. */
const ownAnnotations: ReadonlySet<string> = new Set([
  'kubectl.kubernetes.io/last-applied-configuration',
  'deprecated.deployment.rollback.to',
  'deployment.kubernetes.io/revision-history',
  revisionAnnotation,
  desiredAnnotation,
  mostAnnotation,
])

/** Annotations of the newest set: the Deployment's, `kubernetes.io/change-cause` for one, its revision and sizes. */
export function setAnnotations(deployment: Deployment, revision: number): Record<string, string> {
  const told = Object.entries(deployment.metadata?.annotations ?? {}).filter(([key]) => !ownAnnotations.has(key))
  return { ...Object.fromEntries(told), [revisionAnnotation]: String(revision), ...sizeAnnotations(deployment) }
}

const replicasOf = (set: ReplicaSet): number => set.spec?.replicas ?? 0
const availableOf = (set: ReplicaSet): number => set.status?.availableReplicas ?? 0
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

/**
 * New sizes of sets, by name: only those that change.
 * @param current the set of the newest template
 * @param oldPods pods of the old sets that have not ended; those that terminate count
 */
export function rolloutPlan(
  deployment: Deployment,
  current: ReplicaSet,
  old: readonly ReplicaSet[],
  oldPods: number,
): Map<string, number> {
  const wanted = deployment.spec?.replicas ?? 1
  const plan = new Map<string, number>()
  const scale = (set: ReplicaSet, replicas: number): void => {
    if (replicasOf(set) !== replicas) plan.set(set.metadata?.name ?? '', replicas)
  }
  const all = [current, ...old]
  const oldTotal = sum(old.map(replicasOf))
  if (deployment.spec?.strategy?.type === 'Recreate') {
    for (const set of old) scale(set, 0)
    // All old pods are to be gone before new ones come.
    if (oldTotal === 0 && oldPods === 0) scale(current, wanted)
    return plan
  }
  const { surge, unavailable } = rolloutLimits(deployment)
  const total = sum(all.map(replicasOf))
  const newSize =
    replicasOf(current) > wanted
      ? wanted
      : replicasOf(current) + Math.max(0, Math.min(wanted - replicasOf(current), wanted + surge - total))
  scale(current, newSize)
  if (oldTotal === 0) return plan
  const newUnavailable = replicasOf(current) - availableOf(current)
  let removable = total - (wanted - unavailable) - newUnavailable
  const byAge = old.toSorted((a, b) =>
    (a.metadata?.creationTimestamp ?? '') < (b.metadata?.creationTimestamp ?? '') ? -1 : 1,
  )
  const sizes = new Map(byAge.map((set) => [set, replicasOf(set)]))
  // Those that are not available help nobody: they go first.
  for (const set of byAge) {
    const gone = Math.max(0, Math.min(removable, (sizes.get(set) ?? 0) - availableOf(set)))
    sizes.set(set, (sizes.get(set) ?? 0) - gone)
    removable -= gone
  }
  let spare = Math.min(removable, sum(all.map(availableOf)) - (wanted - unavailable))
  for (const set of byAge) {
    const gone = Math.max(0, Math.min(spare, sizes.get(set) ?? 0))
    sizes.set(set, (sizes.get(set) ?? 0) - gone)
    spare -= gone
  }
  for (const [set, size] of sizes) scale(set, size)
  return plan
}

const timeNow = (now: number): string => new Date(now).toISOString().replace(/\.\d+Z$/, 'Z')

/** The status that the sets add up to. */
export function deploymentStatus(
  deployment: Deployment,
  current: ReplicaSet | undefined,
  sets: readonly ReplicaSet[],
  now: number,
): NonNullable<Deployment['status']> {
  const wanted = deployment.spec?.replicas ?? 1
  const total = sum(sets.map((set) => set.status?.replicas ?? 0))
  const available = sum(sets.map(availableOf))
  const updated = current?.status?.replicas ?? 0
  const { unavailable } = rolloutLimits(deployment)
  const isAvailable = available >= wanted - unavailable
  const isDone = updated === wanted && total === wanted && available === wanted
  const name = current?.metadata?.name ?? ''
  const before = deployment.status?.conditions ?? []
  const condition = (type: string, status: string, reason: string, message: string): DeploymentCondition => {
    const old = before.find((one) => one.type === type)
    const isSame = old?.status === status && old.reason === reason && old.message === message
    if (old && isSame && (reason !== 'ReplicaSetUpdated' || !progressed(deployment, { updated, total, available })))
      return old
    const changed = timeNow(now)
    return {
      type,
      status,
      reason,
      message,
      lastUpdateTime: changed,
      lastTransitionTime: old?.status === status ? (old.lastTransitionTime ?? changed) : changed,
    }
  }
  const progressing = (): DeploymentCondition => {
    const old = before.find(({ type }) => type === 'Progressing')
    // What was said about another template's set says nothing about this one.
    const said = old?.message?.includes(`"${name}"`) ? old : undefined
    if (deployment.spec?.paused) {
      if (said?.reason === 'ProgressDeadlineExceeded') return said
      return condition('Progressing', 'Unknown', 'DeploymentPaused', 'Deployment is paused')
    }
    // Pods that fail after the rollout do not begin another.
    if (isDone || (said?.reason === 'NewReplicaSetAvailable' && total === updated)) {
      const message = `ReplicaSet "${name}" has successfully progressed.`
      return condition('Progressing', 'True', 'NewReplicaSetAvailable', message)
    }
    if (said && deadlinePassed(deployment, now) && !progressed(deployment, { updated, total, available })) {
      const message = `ReplicaSet "${name}" has timed out progressing.`
      return condition('Progressing', 'False', 'ProgressDeadlineExceeded', message)
    }
    return condition('Progressing', 'True', 'ReplicaSetUpdated', `ReplicaSet "${name}" is progressing.`)
  }
  const failure = sets.flatMap((set) => set.status?.conditions?.find(({ type }) => type === 'ReplicaFailure') ?? [])[0]
  const conditions = [
    isAvailable
      ? condition('Available', 'True', 'MinimumReplicasAvailable', 'Deployment has minimum availability.')
      : condition('Available', 'False', 'MinimumReplicasUnavailable', 'Deployment does not have minimum availability.'),
    progressing(),
    ...(failure ? [condition('ReplicaFailure', 'True', failure.reason ?? '', failure.message ?? '')] : []),
  ]
  const { generation } = deployment.metadata ?? {}
  return {
    ...(generation !== undefined && { observedGeneration: generation }),
    replicas: total,
    updatedReplicas: updated,
    readyReplicas: sum(sets.map((set) => set.status?.readyReplicas ?? 0)),
    availableReplicas: available,
    unavailableReplicas: Math.max(0, total - available, wanted - available),
    conditions,
  }
}

function progressed({ status = {} }: Deployment, now: { updated: number; total: number; available: number }): boolean {
  return (
    now.updated > (status.updatedReplicas ?? 0) ||
    now.available > (status.availableReplicas ?? 0) ||
    now.total - now.updated < (status.replicas ?? 0) - (status.updatedReplicas ?? 0)
  )
}

/** When the rollout counts as stuck, in milliseconds since the epoch; undefined when it does not progress. */
export function progressDeadline({ spec, status }: Deployment): number | undefined {
  const progressing = status?.conditions?.find(({ type }) => type === 'Progressing')
  if (progressing?.reason !== 'ReplicaSetUpdated') return undefined
  return Date.parse(progressing.lastUpdateTime ?? '') + (spec?.progressDeadlineSeconds ?? 600) * 1000
}

function deadlinePassed(deployment: Deployment, now: number): boolean {
  const progressing = deployment.status?.conditions?.find(({ type }) => type === 'Progressing')
  if (progressing?.reason === 'ProgressDeadlineExceeded') return true
  return now >= (progressDeadline(deployment) ?? Number.POSITIVE_INFINITY)
}
