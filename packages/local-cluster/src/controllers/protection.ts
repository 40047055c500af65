// Claims stay while a pod uses them, volumes while a claim does: the finalizers go when nobody does.
import { isNotFound, listAll, mergePatch, persistentVolumeClaims, persistentVolumes, pods } from '@nodelet/kube-client'
import type { KubeObject, Resource } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { ControllerContext } from './caches.ts'
import { claimsOf, isUsedBy } from './pod-claims.ts'
import { createQueue, keyOf, splitKey } from './queue.ts'

export const volumeFinalizer = 'kubernetes.io/pv-protection'
export const claimFinalizer = 'kubernetes.io/pvc-protection'

/** What is to be done about a finalizer. Pure. */
export function protectionStep(
  { metadata }: KubeObject,
  finalizer: string,
  isUsed: boolean,
): 'add' | 'remove' | 'keep' {
  const isThere = metadata?.finalizers?.includes(finalizer) ?? false
  if (!metadata?.deletionTimestamp) return isThere ? 'keep' : 'add'
  return isThere && !isUsed ? 'remove' : 'keep'
}

export function startProtection({ client, caches, log }: ControllerContext): AsyncDisposable {
  const { persistentVolumes: volumes, persistentVolumeClaims: claims, pods: podCache } = caches

  const settle = async (
    resource: Resource<KubeObject>,
    object: KubeObject,
    finalizer: string,
    isUsed: boolean,
  ): Promise<void> => {
    const step = protectionStep(object, finalizer, isUsed)
    if (step === 'keep') return
    const { name = '', namespace, finalizers = [], resourceVersion } = object.metadata ?? {}
    const others = finalizers.filter((one) => one !== finalizer)
    // What was looked at is what is changed.
    const patch = mergePatch({
      metadata: { resourceVersion, finalizers: step === 'add' ? [...others, finalizer] : others },
    })
    try {
      await client.patch(resource, { name, ...(namespace !== undefined && { namespace }) }, patch)
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }
  const work = async (key: string): Promise<void> => {
    const { namespace, name } = splitKey(key)
    if (namespace === '') {
      const volume = volumes.get({ name })
      if (volume) await settle(persistentVolumes, volume, volumeFinalizer, volume.status?.phase === 'Bound')
      return
    }
    const claim = claims.get({ namespace, name })
    if (!claim) return
    const uses = (pod: Pod): boolean => isUsedBy(pod, claim)
    let isUsed = podCache.list().some(uses)
    // A pod that has just come to its node may not have been seen yet.
    if (claim.metadata?.deletionTimestamp && !isUsed)
      isUsed = (await listAll(client, pods, { namespace })).items.some(uses)
    await settle(persistentVolumeClaims, claim, claimFinalizer, isUsed)
  }

  const queue = createQueue('volume-protection', work, log)
  const add = (object: KubeObject): void => queue.add(keyOf(object))
  const released = (pod: Pod): void =>
    claimsOf(pod).forEach(({ name }) => queue.add(`${pod.metadata?.namespace}/${name}`))
  const stops = [
    volumes.subscribe({ added: add, updated: add }),
    claims.subscribe({ added: add, updated: add }),
    podCache.subscribe({ updated: (pod) => pod.metadata?.deletionTimestamp && released(pod), deleted: released }),
  ]
  return {
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}
