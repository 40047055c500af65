// The end of a pod in the API.
import { isConflict, isNotFound, type KubeClient, pods as podResource } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'

/**
 * Removes the pod for good, if it is still this one. True when it is gone, false when the API refused
 * because of a change: with another uid the pod is told gone by the watch, else the next turn asks again.
 */
export async function deletePod(client: Pick<KubeClient, 'delete'>, { metadata }: Pod): Promise<boolean> {
  const { name = '', namespace = '', uid } = metadata ?? {}
  try {
    await client.delete(
      podResource,
      { name, namespace },
      { gracePeriodSeconds: 0, ...(uid && { preconditions: { uid } }) },
    )
    return true
  } catch (error) {
    if (isNotFound(error)) return true
    if (isConflict(error)) return false
    throw error
  }
}
