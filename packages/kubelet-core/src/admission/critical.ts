// Which pods the node itself needs, and which may make room for others. Pure.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { isStatic, mirrorAnnotation } from '../pod/labels.ts'

const systemPriority = 2_000_000_000

/** Static and mirror pods, and those of a system priority: never evicted, and admitted at the cost of others. */
export function isCritical(pod: Pod): boolean {
  const isMirror = pod.metadata?.annotations?.[mirrorAnnotation] !== undefined
  return isStatic(pod) || isMirror || (pod.spec?.priority ?? 0) >= systemPriority
}

/** Whether `one` may be ended so that `pod` can run. */
export function isPreemptible(pod: Pod, one: Pod): boolean {
  if (isCritical(pod) && !isCritical(one)) return true
  const [wanted, held] = [pod.spec?.priority, one.spec?.priority]
  return wanted !== undefined && held !== undefined && wanted > held
}
