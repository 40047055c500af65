// Keeps as many pods as ReplicaSets ask for.
import { isNotFound, mergePatch, pods, replicaSets } from '@nodelet/kube-client'
import type { ReplicaSet } from 'kubernetes-types/apps/v1.d.ts'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { sameJson } from '../object.ts'
import type { ControllerContext } from './caches.ts'
import { createRecorder } from './events.ts'
import { createQueue, keyOf, splitKey } from './queue.ts'
import { claim, controllerOf, ownedBy } from './claim.ts'
import { batches, isActive, replicaPlan, replicaStatus, selects } from './replicas.ts'
import type { ReplicaFailure } from './replicas.ts'

const apiVersion = 'apps/v1'
/** What was made and is not seen for this long is not waited for. */
const expectedMs = 300_000

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
    const mine = await claim({
      client,
      resource: pods,
      objects: podCache.list(),
      owner: set,
      reference: ownedBy(apiVersion, 'ReplicaSet', set),
      matches: (pod) => matches(set, pod),
      mayAdopt: isActive,
    })
    const active = mine.filter(isActive)
    for (const [name, since] of waiting.made) {
      if (podCache.get({ namespace, name }) || Date.now() - since > expectedMs) waiting.made.delete(name)
    }
    for (const name of waiting.removed) {
      const pod = podCache.get({ namespace, name })
      if (!pod || pod.metadata?.deletionTimestamp) waiting.removed.delete(name)
    }
    if (waiting.made.size > 0) queue.addAfter(key, expectedMs)
    let failure: ReplicaFailure | undefined
    if (waiting.made.size + waiting.removed.size === 0 && !set.metadata?.deletionTimestamp) {
      failure = await manage(set, active, waiting)
    }
    const { status, nextMs } = replicaStatus(set, active, Date.now(), failure)
    if (nextMs !== undefined) queue.addAfter(key, nextMs)
    await writeStatus(set, status)
    if (failure) throw failure.error
  }

  const manage = async (
    set: ReplicaSet,
    active: readonly Pod[],
    { made, removed }: { made: Map<string, number>; removed: Set<string> },
  ): Promise<ReplicaFailure | undefined> => {
    const { create, remove } = replicaPlan(set, active)
    const attempt = async (work: Promise<void>[]): Promise<Error | undefined> =>
      (await Promise.allSettled(work)).find((one) => one.status === 'rejected')?.reason as Error | undefined
    const refused = await attempt(remove.map(async (pod) => removePod(set, pod, removed)))
    if (refused) return { reason: 'FailedDelete', error: refused }
    for (const size of batches(create)) {
      const error = await attempt(Array.from({ length: size }, async () => createPod(set, made)))
      if (error) return { reason: 'FailedCreate', error }
    }
    return undefined
  }

  const createPod = async (set: ReplicaSet, made: Map<string, number>): Promise<void> => {
    const { name = '', namespace = '' } = set.metadata ?? {}
    const { labels = {}, annotations } = set.spec?.template?.metadata ?? {}
    const metadata = {
      generateName: `${name}-`,
      namespace,
      labels,
      ...(annotations && { annotations }),
      ownerReferences: [ownedBy(apiVersion, 'ReplicaSet', set)],
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
    const before = { conditions: [], ...set.status }
    const isSame = Object.entries(status).every(([key, value]) =>
      sameJson(before[key as keyof typeof before] ?? 0, value),
    )
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
