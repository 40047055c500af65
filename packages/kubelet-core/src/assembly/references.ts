// Pods that refer to an object are looked at when it changes.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { ObjectSource } from '../objects.ts'
import type { PodManager } from '../pod/manager.ts'

/** @returns how to stop */
export function wakeReferrers(objects: ObjectSource, manager: Pick<PodManager, 'pods' | 'wake'>): () => void {
  return objects.onChange((_kind, namespace, name) => {
    for (const pod of manager.pods()) if (mayReferTo(pod, namespace, name)) manager.wake(pod.metadata?.uid ?? '')
  })
}

/** Whether the pod names this ConfigMap or Secret anywhere: to look once too often does no harm. */
function mayReferTo(pod: Pod, namespace: string, name: string): boolean {
  return pod.metadata?.namespace === namespace && JSON.stringify(pod.spec).includes(JSON.stringify(name))
}
