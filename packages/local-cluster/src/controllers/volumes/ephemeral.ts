// Makes the claims of pods' ephemeral volumes; they go with their pods.
import { isNotFound, persistentVolumeClaims } from '@nodelet/kube-client'
import type { PersistentVolumeClaim, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { ControllerContext } from '../caches.ts'
import { ownedBy } from '../claim.ts'
import { createRecorder, onlyOnce } from '../events.ts'
import { createQueue, keyOf, splitKey } from '../queue.ts'
import { claimsOf, notForPod } from './pod-claims.ts'
import type { PodClaim } from './pod-claims.ts'

/** The claim of one volume of a pod. Pure. */
export function ephemeralClaim(pod: Pod, { volume, name }: PodClaim): PersistentVolumeClaim {
  const { metadata, spec } = volume.ephemeral?.volumeClaimTemplate ?? {}
  const { labels, annotations } = metadata ?? {}
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name,
      namespace: pod.metadata?.namespace ?? '',
      ownerReferences: [ownedBy('v1', 'Pod', pod)],
      ...(labels && { labels }),
      ...(annotations && { annotations }),
    },
    ...(spec && { spec }),
  }
}

export function startEphemeralClaims({ client, caches, log }: ControllerContext): AsyncDisposable {
  const { pods, persistentVolumeClaims: claims } = caches
  const record = onlyOnce(createRecorder(client, 'ephemeral_volume', log))

  const ensure = async (pod: Pod, claim: PodClaim): Promise<void> => {
    const namespace = pod.metadata?.namespace ?? ''
    const known =
      claims.get({ namespace, name: claim.name }) ??
      (await client.get(persistentVolumeClaims, { namespace, name: claim.name }).catch((error: unknown) => {
        if (isNotFound(error)) return undefined
        throw error
      }))
    if (!known) {
      await client.create(persistentVolumeClaims, ephemeralClaim(pod, claim)).catch((error: unknown) => {
        throw new Error(`create PVC ${claim.name}: ${(error as Error).message}`, { cause: error })
      })
      return
    }
    const why = notForPod(pod, known)
    if (why !== undefined) throw new Error(why)
  }
  const work = async (key: string): Promise<void> => {
    const pod = pods.get(splitKey(key))
    if (!pod || pod.metadata?.deletionTimestamp) return
    for (const claim of claimsOf(pod).filter(({ isEphemeral }) => isEphemeral)) {
      try {
        await ensure(pod, claim)
      } catch (error) {
        const message = `ephemeral volume ${claim.volume.name}: ${(error as Error).message}`
        record(pod, 'Warning', 'FailedBinding', message)
        throw error
      }
    }
  }
  const queue = createQueue('ephemeral-volume', work, log)
  const stops = [
    pods.subscribe({ added: (pod) => claimsOf(pod).some(({ isEphemeral }) => isEphemeral) && queue.add(keyOf(pod)) }),
    claims.subscribe({
      // A pod may wait for its own to be made anew.
      deleted: ({ metadata }) =>
        metadata?.ownerReferences?.forEach(({ kind, name }) => {
          if (kind === 'Pod') queue.add(`${metadata.namespace}/${name}`)
        }),
    }),
  ]
  return {
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}
