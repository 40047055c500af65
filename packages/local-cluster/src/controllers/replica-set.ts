// Keeps as many pods as ReplicaSets ask for.
import { isNotFound, mergePatch, pods, replicaSets } from '@nodelet/kube-client'
import type { ReplicaSet } from 'kubernetes-types/apps/v1.d.ts'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { ControllerContext } from './caches.ts'
import { createRecorder } from './events.ts'
import { createQueue, keyOf, splitKey } from './queue.ts'
import { batches, isActive, replicaPlan, replicaStatus } from './replicas.ts'

const apiVersion = 'apps/v1'

/** The owner that manages an object. */
export const controllerOf = ({
  metadata,
}: {
  metadata?: Pod['metadata']
}): { uid: string; name: string; kind: string } | undefined =>
  metadata?.ownerReferences?.find(({ controller }) => controller === true)

export function startReplicaSets({ client, caches, log }: ControllerContext): AsyncDisposable {
  const { replicaSets: setCache, pods: podCache } = caches
  const { record } = createRecorder(client, 'replicaset-controller', log)
  /** By set: pods that were made or removed and are not yet seen so. A stale cache then makes none twice. */
  const expected = new Map<string, { made: Set<string>; removed: Set<string> }>()

  const matches = (set: ReplicaSet, pod: Pod): boolean =>
    set.metadata?.namespace === pod.metadata?.namespace &&
    Object.entries(set.spec?.selector?.matchLabels ?? {}).every(([key, value]) => pod.metadata?.labels?.[key] === value)

  const sync = async (key: string): Promise<void> => {
    const set = setCache.get(splitKey(key))
    if (!set) return void expected.delete(key)
    const waiting = expected.get(key) ?? { made: new Set(), removed: new Set() }
    expected.set(key, waiting)
    const all = podCache.list().filter((pod) => matches(set, pod))
    await adopt(set, all)
    const active = all.filter((pod) => isActive(pod) && controllerOf(pod)?.uid === set.metadata?.uid)
    for (const pod of all) waiting.made.delete(pod.metadata?.name ?? '')
    for (const name of waiting.removed) {
      const pod = podCache.get({ namespace: set.metadata?.namespace ?? '', name })
      if (!pod || pod.metadata?.deletionTimestamp) waiting.removed.delete(name)
    }
    if (waiting.made.size + waiting.removed.size === 0 && !set.metadata?.deletionTimestamp) {
      const { create, remove } = replicaPlan(set, active)
      await Promise.all(remove.map(async (pod) => removePod(set, pod, waiting.removed)))
      for (const size of batches(create)) {
        await Promise.all(Array.from({ length: size }, async () => createPod(set, waiting.made)))
      }
    }
    const { status, nextMs } = replicaStatus(set, active, Date.now())
    if (nextMs !== undefined) queue.addAfter(key, nextMs)
    await writeStatus(set, status)
  }

  const adopt = async (set: ReplicaSet, all: readonly Pod[]): Promise<void> => {
    if (set.metadata?.deletionTimestamp) return
    const { name = '', namespace = '', uid = '' } = set.metadata ?? {}
    const owner = { apiVersion, kind: 'ReplicaSet', name, uid, controller: true, blockOwnerDeletion: true }
    for (const pod of all.filter((one) => isActive(one) && !controllerOf(one))) {
      const ownerReferences = [...(pod.metadata?.ownerReferences ?? []), owner]
      const patch = mergePatch({ metadata: { uid: pod.metadata?.uid, ownerReferences } })
      await client.patch(pods, { namespace, name: pod.metadata?.name ?? '' }, patch)
    }
  }

  const createPod = async (set: ReplicaSet, made: Set<string>): Promise<void> => {
    const { name = '', namespace = '', uid = '' } = set.metadata ?? {}
    const { labels = {}, annotations } = set.spec?.template?.metadata ?? {}
    const owner = { apiVersion, kind: 'ReplicaSet', name, uid, controller: true, blockOwnerDeletion: true }
    const metadata = {
      generateName: `${name}-`,
      namespace,
      labels,
      ...(annotations && { annotations }),
      ownerReferences: [owner],
    }
    try {
      const pod = await client.create(pods, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata,
        spec: set.spec?.template?.spec ?? { containers: [] },
      })
      const created = pod.metadata?.name ?? ''
      if (!podCache.get({ namespace, name: created })) made.add(created)
      record(set, 'Normal', 'SuccessfulCreate', `Created pod: ${created}`)
    } catch (error) {
      record(set, 'Warning', 'FailedCreate', `Error creating: ${(error as Error).message}`)
      throw error
    }
  }

  const removePod = async (set: ReplicaSet, pod: Pod, removed: Set<string>): Promise<void> => {
    const name = pod.metadata?.name ?? ''
    removed.add(name)
    try {
      const uid = pod.metadata?.uid
      await client.delete(
        pods,
        { namespace: pod.metadata?.namespace ?? '', name },
        { ...(uid !== undefined && { preconditions: { uid } }) },
      )
      record(set, 'Normal', 'SuccessfulDelete', `Deleted pod: ${name}`)
    } catch (error) {
      removed.delete(name)
      if (!isNotFound(error)) throw error
    }
  }

  const writeStatus = async (set: ReplicaSet, status: NonNullable<ReplicaSet['status']>): Promise<void> => {
    const before = set.status
    const isSame = Object.entries(status).every(([key, value]) => (before?.[key as keyof typeof before] ?? 0) === value)
    if (isSame) return
    const { name = '', namespace = '' } = set.metadata ?? {}
    await client
      .patch(replicaSets, { namespace, name }, mergePatch({ status }), { subresource: 'status' })
      .catch((error: unknown) => {
        if (!isNotFound(error)) throw error
      })
  }

  const queue = createQueue('replicaset', sync, log)
  const ofPod = (pod: Pod): void => {
    const owner = controllerOf(pod)
    if (owner?.kind === 'ReplicaSet') queue.add(`${pod.metadata?.namespace ?? ''}/${owner.name}`)
    else if (!owner) setCache.list().forEach((set) => matches(set, pod) && queue.add(keyOf(set)))
  }
  const stops = [
    setCache.subscribe({
      added: (set) => queue.add(keyOf(set)),
      updated: (set) => queue.add(keyOf(set)),
      deleted: (set) => queue.add(keyOf(set)),
    }),
    podCache.subscribe({ added: ofPod, updated: ofPod, deleted: ofPod }),
  ]
  return {
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}
