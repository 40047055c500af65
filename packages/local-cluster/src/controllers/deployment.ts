// Rolls Deployments out through ReplicaSets.
import { deployments, isAlreadyExists, isNotFound, mergePatch, replicaSets } from '@nodelet/kube-client'
import type { Deployment, ReplicaSet } from 'kubernetes-types/apps/v1.d.ts'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { ControllerContext } from './caches.ts'
import { createRecorder } from './events.ts'
import { createQueue, keyOf, splitKey } from './queue.ts'
import { controllerOf } from './replica-set.ts'
import { isOver } from './replicas.ts'
import {
  deploymentStatus,
  hashLabel,
  isCurrent,
  progressDeadline,
  revisionAnnotation,
  rolloutLimits,
  rolloutPlan,
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
    const sets = setCache.list().filter((set) => controllerOf(set)?.uid === deployment.metadata?.uid)
    const newest = sets.filter((set) => isCurrent(deployment, set)).toSorted((a, b) => revisionOf(b) - revisionOf(a))[0]
    if (!deployment.spec?.paused) {
      const revision = Math.max(0, ...sets.filter((set) => set !== newest).map(revisionOf)) + 1
      if (!newest) return createSet(deployment, revision)
      await keepRevision(deployment, newest, Math.max(revision, revisionOf(newest)))
      const old = sets.filter((set) => set !== newest)
      for (const [name, replicas] of rolloutPlan(deployment, newest, old, podsOf(old))) {
        await scale(deployment, sets, name, replicas)
      }
      await removeOld(deployment, old)
    } else if (newest && isAlone(newest, sets) && newest.spec?.replicas !== deployment.spec.replicas) {
      await scale(deployment, sets, newest.metadata?.name ?? '', deployment.spec.replicas ?? 1)
    }
    await writeStatus(deployment, deploymentStatus(deployment, newest, sets, Date.now()))
    const deadline = progressDeadline(deployment)
    if (deadline !== undefined && deadline > Date.now()) queue.addAfter(key, deadline - Date.now() + 1000)
  }

  const createSet = async (deployment: Deployment, revision: number): Promise<void> => {
    const { name = '', namespace = '', uid = '' } = deployment.metadata ?? {}
    const { template, minReadySeconds, selector, replicas = 1 } = deployment.spec ?? {}
    const hash = templateHash(template)
    const before = setCache.list().filter((set) => controllerOf(set)?.uid === uid)
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
        annotations: {
          [revisionAnnotation]: String(revision),
          'deployment.kubernetes.io/desired-replicas': String(replicas),
          'deployment.kubernetes.io/max-replicas': String(replicas + rolloutLimits(deployment).surge),
        },
        ownerReferences: [{ apiVersion, kind: 'Deployment', name, uid, controller: true, blockOwnerDeletion: true }],
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
      if (!isAlreadyExists(error)) throw error // the cache has not seen it yet
    }
    await annotate(deployment, revision)
  }

  const annotate = async (deployment: Deployment, revision: number): Promise<void> => {
    if (revisionOf(deployment) === revision) return
    const patch = mergePatch({ metadata: { annotations: { [revisionAnnotation]: String(revision) } } })
    await client.patch(deployments, refOf(deployment), patch)
  }

  const keepRevision = async (deployment: Deployment, set: ReplicaSet, revision: number): Promise<void> => {
    if (revisionOf(set) !== revision) {
      const patch = mergePatch({ metadata: { annotations: { [revisionAnnotation]: String(revision) } } })
      await client.patch(replicaSets, refOf(set), patch)
    }
    await annotate(deployment, revision)
  }

  const scale = async (
    deployment: Deployment,
    sets: readonly ReplicaSet[],
    name: string,
    replicas: number,
  ): Promise<void> => {
    const set = sets.find(({ metadata }) => metadata?.name === name)
    const from = set?.spec?.replicas ?? 0
    await client.patch(
      replicaSets,
      { namespace: deployment.metadata?.namespace ?? '', name },
      mergePatch({ spec: { replicas } }),
    )
    const direction = replicas > from ? 'up' : 'down'
    record(
      deployment,
      'Normal',
      'ScalingReplicaSet',
      `Scaled ${direction} replica set ${name} from ${from} to ${replicas}`,
    )
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
  const ofSet = (set: ReplicaSet): void => {
    const owner = controllerOf(set)
    if (owner?.kind === 'Deployment') queue.add(`${set.metadata?.namespace ?? ''}/${owner.name}`)
  }
  const ofPod = (pod: Pod): void => {
    const owner = controllerOf(pod)
    const set = owner && setCache.get({ namespace: pod.metadata?.namespace ?? '', name: owner.name })
    if (set?.metadata?.uid === owner?.uid && set) ofSet(set)
  }
  const stops = [
    cache.subscribe({ added: (one) => queue.add(keyOf(one)), updated: (one) => queue.add(keyOf(one)) }),
    setCache.subscribe({ added: ofSet, updated: ofSet, deleted: ofSet }),
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
