// Pods that refer to an object are looked at when it changes.
import { mayReferTo } from '../object-reader/reader.ts'
import type { ObjectSource } from '../objects.ts'
import type { PodManager } from '../pod/manager.ts'

/** @returns how to stop */
export function wakeReferrers(objects: ObjectSource, manager: Pick<PodManager, 'pods' | 'wake'>): () => void {
  return objects.onChange((_kind, namespace, name) => {
    for (const pod of manager.pods()) if (mayReferTo(pod, namespace, name)) manager.wake(pod.metadata?.uid ?? '')
  })
}
