// Keeps as many pods as ReplicaSets ask for.
import { isNotFound, mergePatch, pods, replicaSets } from '@nodelet/kube-client'
import type { ReplicaSet } from 'kubernetes-types/apps/v1.d.ts'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { ControllerContext } from './caches.ts'
import { createRecorder } from './events.ts'
import { createQueue, keyOf, splitKey } from './queue.ts'
import { batches, isActive, replicaPlan, replicaStatus, selects } from './replicas.ts'

const apiVersion = 'apps/v1'
/** What was made and is not seen for this long is not waited for. */
const expectedMs = 300_000

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
  /** By set: pods that were made (and when) or removed and are not yet seen so. A stale cache then makes none twice. */
  const expected = new Map<string, { made: Map<string, number>; removed: Set<string> }>()

  const matches = (set: ReplicaSet, pod: Pod): boolean =>
    set.metadata?.namespace === pod.metadata?.namespace && selects(set.spec?.selector, pod.metadata?.labels)

  const sync = async (key: string): Promise<void> => {
    const set = setCache.get(splitKey(key))
    if (!set) return void expected.delete(key)
    const waiting = expected.get(key) ?? { made: new Map<string, number>(), removed: new Set<string>() }
    expected.set(key, waiting)
    const namespace = set.metadata?.namespace ?? ''
    const active = (await claim(set)).filter(isActive)
    for (const [name, since] of waiting.made) {
      if (podCache.get({ namespace, name }) || Date.now() - since > expectedMs) waiting.made.delete(name)
    }
    for (const name of waiting.removed) {
      const pod = podCache.get({ namespace, name })
      if (!pod || pod.metadata?.deletionTimestamp) waiting.removed.delete(name)
    }
    if (waiting.made.size > 0) queue.addAfter(key, expectedMs)
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

  /** Takes pods that match and are nobody's, and lets go of those that no longer match. Answers the set's pods. */
  const claim = async (set: ReplicaSet): Promise<Pod[]> => {
    const { name = '', namespace = '', uid = '' } = set.metadata ?? {}
    const reown = async (pod: Pod, ownerReferences: object[]): Promise<Pod | undefined> => {
      const patch = mergePatch({ metadata: { uid: pod.metadata?.uid, ownerReferences } })
      return client.patch(pods, { namespace, name: pod.metadata?.name ?? '' }, patch).catch((error: unknown) => {
        if (!isNotFound(error)) throw error
        return undefined
      })
    }
    const mine: Pod[] = []
    for (const pod of podCache.list()) {
      const owner = controllerOf(pod)
      const owners = pod.metadata?.ownerReferences ?? []
      if (owner && owner.uid !== uid) continue
      const isMatch = matches(set, pod)
      if (owner && isMatch) mine.push(pod)
      else if (set.metadata?.deletionTimestamp || pod.metadata?.deletionTimestamp) continue
      else if (owner) {
        await reown(
          pod,
          owners.filter((one) => one.uid !== uid),
        )
      } else if (isMatch && isActive(pod)) {
        const own = { apiVersion, kind: 'ReplicaSet', name, uid, controller: true, blockOwnerDeletion: true }
        const adopted = await reown(pod, [...owners, own])
        if (adopted) mine.push(adopted)
      }
    }
    return mine
  }

  const createPod = async (set: ReplicaSet, made: Map<string, number>): Promise<void> => {
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
      if (!podCache.get({ namespace, name: created })) made.set(created, Date.now())
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
  const gone = (pod: Pod): void => {
    const { namespace = '', name = '' } = pod.metadata ?? {}
    expected.get(`${namespace}/${controllerOf(pod)?.name ?? ''}`)?.made.delete(name)
    ofPod(pod)
  }
  const stops = [
    setCache.subscribe({
      added: (set) => queue.add(keyOf(set)),
      updated: (set) => queue.add(keyOf(set)),
      deleted: (set) => queue.add(keyOf(set)),
    }),
    podCache.subscribe({
      added: ofPod,
      updated: (pod, before) => {
        // One that was let go is missed by its former set.
        if (controllerOf(before)?.uid !== controllerOf(pod)?.uid) ofPod(before)
        ofPod(pod)
      },
      deleted: gone,
    }),
  ]
  return {
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}
