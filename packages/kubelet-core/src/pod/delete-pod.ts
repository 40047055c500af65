// The end of a pod in the API.
import { isConflict, isNotFound, type KubeClient, pods as podResource } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'

/** Removes the pod for good, if it is still this one. */
export async function deletePod(client: Pick<KubeClient, 'delete'>, { metadata }: Pod): Promise<void> {
  const { name = '', namespace = '', uid } = metadata ?? {}
  try {
    await client.delete(
      podResource,
      { name, namespace },
      { gracePeriodSeconds: 0, ...(uid && { preconditions: { uid } }) },
    )
  } catch (error) {
    // Gone already, or another pod has the name by now.
    if (!isNotFound(error) && !isConflict(error)) throw error
  }
}
