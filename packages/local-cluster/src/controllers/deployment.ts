// Rolls Deployments out through ReplicaSets.
import { deployments, isAlreadyExists, isNotFound, mergePatch, replicaSets } from '@nodelet/kube-client'
import type { Deployment, ReplicaSet } from 'kubernetes-types/apps/v1.d.ts'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { ControllerContext } from './caches.ts'
import { claim, controllerOf, ownedBy } from './claim.ts'
import { createRecorder } from './events.ts'
import { createQueue, keyOf, splitKey } from './queue.ts'
import { isOver, selects } from './replicas.ts'
import {
  deploymentStatus,
  hashLabel,
  isCurrent,
  progressDeadline,
  revisionAnnotation,
  rolloutLimits,
  rolloutPlan,
  setAnnotations,
  sizeAnnotations,
  templateHash,
} from './rollout.ts'

const apiVersion = 'apps/v1'
const revisionOf = ({ metadata }: ReplicaSet | Deployment): number =>
  Number(metadata?.annotations?.[revisionAnnotation] ?? 0)

/** Whether no other set is to have pods. */
const isAlone = (set: ReplicaSet, sets: readonly ReplicaSet[]): boolean =>
  sets.every((other) => other === set || other.spec?.replicas === 0)

export function startDeployments({ client, caches, log }: ControllerContext): AsyncDisposable {
  const { deployments: cache, replicaSets: setCache, pods: podCache } = caches
  const { record } = createRecorder(client, 'deployment-controller', log)

  /** Pods of sets that have not ended. */
  const podsOf = (sets: readonly ReplicaSet[]): number => {
    const uids = new Set(sets.map(({ metadata }) => metadata?.uid))
    return podCache.list().filter((pod) => uids.has(controllerOf(pod)?.uid) && !isOver(pod)).length
  }

  const sync = async (key: string): Promise<void> => {
    const deployment = cache.get(splitKey(key))
    if (!deployment || deployment.metadata?.deletionTimestamp) return
    const sets = await claim({
      client,
      resource: replicaSets,
      objects: setCache.list(),
      owner: deployment,
      reference: ownedBy(apiVersion, 'Deployment', deployment),
      matches: (set) => selects(deployment.spec?.selector, set.metadata?.labels),
    })
    const newest = sets.filter((set) => isCurrent(deployment, set)).toSorted((a, b) => revisionOf(b) - revisionOf(a))[0]
    if (!deployment.spec?.paused) {
      const revision = Math.max(0, ...sets.filter((set) => set !== newest).map(revisionOf)) + 1
      if (!newest) return createSet(deployment, sets, revision)
      const current = await keepRevision(deployment, newest, Math.max(revision, revisionOf(newest)))
      const old = sets.filter((set) => set !== newest)
      for (const [name, replicas] of rolloutPlan(deployment, current, old, podsOf(old))) {
        const set = [current, ...old].find(({ metadata }) => metadata?.name === name)
        if (set) await scale(deployment, set, replicas)
      }
      await removeOld(deployment, old)
    } else if (newest && isAlone(newest, sets) && newest.spec?.replicas !== deployment.spec.replicas) {
      await scale(deployment, newest, deployment.spec.replicas ?? 1)
    }
    await writeStatus(deployment, deploymentStatus(deployment, newest, sets, Date.now()))
    const deadline = progressDeadline(deployment)
    if (deadline !== undefined && deadline > Date.now()) queue.addAfter(key, deadline - Date.now() + 1000)
  }

  const createSet = async (deployment: Deployment, before: readonly ReplicaSet[], revision: number): Promise<void> => {
    const { name = '', namespace = '' } = deployment.metadata ?? {}
    const { template, minReadySeconds, selector, replicas = 1 } = deployment.spec ?? {}
    const collisions = deployment.status?.collisionCount ?? 0
    const hash = templateHash(template, collisions)
    const total = before.reduce((sum, set) => sum + (set.spec?.replicas ?? 0), 0)
    const size =
      deployment.spec?.strategy?.type === 'Recreate'
        ? total + podsOf(before) > 0
          ? 0
          : replicas
        : Math.max(0, Math.min(replicas, replicas + rolloutLimits(deployment).surge - total))
    const labels = { ...template?.metadata?.labels, [hashLabel]: hash }
    const set: ReplicaSet = {
      apiVersion,
      kind: 'ReplicaSet',
      metadata: {
        name: `${name}-${hash}`,
        namespace,
        labels,
        annotations: setAnnotations(deployment, revision),
        ownerReferences: [ownedBy(apiVersion, 'Deployment', deployment)],
      },
      spec: {
        replicas: size,
        ...(minReadySeconds !== undefined && { minReadySeconds }),
        selector: { ...selector, matchLabels: { ...selector?.matchLabels, [hashLabel]: hash } },
        template: { ...template, metadata: { ...template?.metadata, labels } },
      },
    }
    try {
      await client.create(replicaSets, set)
      if (size > 0) {
        record(deployment, 'Normal', 'ScalingReplicaSet', `Scaled up replica set ${name}-${hash} from 0 to ${size}`)
      }
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
      const other = await client.get(replicaSets, { namespace, name: `${name}-${hash}` })
      const isOwn = controllerOf(other)?.uid === deployment.metadata?.uid && isCurrent(deployment, other)
      // Its own one is not in the cache yet. Of another's the name is to be gone around: the change brings the next try.
      if (!isOwn) {
        const patch = mergePatch({ status: { collisionCount: collisions + 1 } })
        await client.patch(deployments, refOf(deployment), patch, { subresource: 'status' })
        return
      }
    }
    await annotate(deployment, revision)
  }

  const annotate = async (deployment: Deployment, revision: number): Promise<void> => {
    if (revisionOf(deployment) === revision) return
    const patch = mergePatch({ metadata: { annotations: { [revisionAnnotation]: String(revision) } } })
    await client.patch(deployments, refOf(deployment), patch)
  }

  const keepRevision = async (deployment: Deployment, set: ReplicaSet, revision: number): Promise<ReplicaSet> => {
    const annotations = setAnnotations(deployment, revision)
    const isSame = Object.entries(annotations).every(([key, value]) => set.metadata?.annotations?.[key] === value)
    const kept = isSame ? set : await client.patch(replicaSets, refOf(set), mergePatch({ metadata: { annotations } }))
    await annotate(deployment, revision)
    return kept
  }

  /** Refused when the set is not as it was seen: what was planned may be wrong then, and is planned again. */
  const scale = async (deployment: Deployment, set: ReplicaSet, replicas: number): Promise<void> => {
    const from = set.spec?.replicas ?? 0
    const metadata = { resourceVersion: set.metadata?.resourceVersion, annotations: sizeAnnotations(deployment) }
    await client.patch(replicaSets, refOf(set), mergePatch({ metadata, spec: { replicas } }))
    const message = `Scaled ${replicas > from ? 'up' : 'down'} replica set ${set.metadata?.name} from ${from} to ${replicas}`
    record(deployment, 'Normal', 'ScalingReplicaSet', message)
  }

  const removeOld = async (deployment: Deployment, old: readonly ReplicaSet[]): Promise<void> => {
    const empty = old.filter(
      ({ spec, status, metadata }) => spec?.replicas === 0 && !status?.replicas && !metadata?.deletionTimestamp,
    )
    const tooMany = empty.length - (deployment.spec?.revisionHistoryLimit ?? 10)
    if (tooMany <= 0) return
    for (const set of empty.toSorted((a, b) => revisionOf(a) - revisionOf(b)).slice(0, tooMany)) {
      await client.delete(replicaSets, refOf(set)).catch((error: unknown) => {
        if (!isNotFound(error)) throw error
      })
    }
  }

  const writeStatus = async (deployment: Deployment, status: NonNullable<Deployment['status']>): Promise<void> => {
    const before = (deployment.status ?? {}) as Record<string, unknown>
    const isSame = Object.entries(status).every(
      ([key, value]) => JSON.stringify(before[key] ?? 0) === JSON.stringify(value),
    )
    if (!isSame) await client.patch(deployments, refOf(deployment), mergePatch({ status }), { subresource: 'status' })
  }

  const queue = createQueue('deployment', sync, log)
  const wants = ({ metadata, spec }: Deployment, set: ReplicaSet): boolean =>
    metadata?.namespace === set.metadata?.namespace && selects(spec?.selector, set.metadata?.labels)
  const ofSet = (set: ReplicaSet): void => {
    const owner = controllerOf(set)
    if (owner?.kind === 'Deployment') queue.add(`${set.metadata?.namespace ?? ''}/${owner.name}`)
    else if (!owner) cache.list().forEach((one) => wants(one, set) && queue.add(keyOf(one)))
  }
  const ofPod = (pod: Pod): void => {
    const owner = controllerOf(pod)
    const set = owner && setCache.get({ namespace: pod.metadata?.namespace ?? '', name: owner.name })
    if (set?.metadata?.uid === owner?.uid && set) ofSet(set)
  }
  const stops = [
    cache.subscribe({ added: (one) => queue.add(keyOf(one)), updated: (one) => queue.add(keyOf(one)) }),
    setCache.subscribe({
      added: ofSet,
      updated: (set, before) => {
        // One that was let go is missed by its former Deployment.
        if (controllerOf(before)?.uid !== controllerOf(set)?.uid) ofSet(before)
        ofSet(set)
      },
      deleted: ofSet,
    }),
    // Recreate waits for the last old pod, which sets do not count while it terminates.
    podCache.subscribe({ deleted: ofPod }),
  ]
  return {
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}

const refOf = ({ metadata }: Deployment | ReplicaSet): { namespace: string; name: string } => ({
  namespace: metadata?.namespace ?? '',
  name: metadata?.name ?? '',
})
