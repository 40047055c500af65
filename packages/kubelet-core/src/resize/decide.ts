// Whether a pod may have the amounts that its changed spec asks for. Pure.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { outOf, shortagesOf } from '../admission/node-fit.ts'
import { isStatic } from '../pod/labels.ts'
import { needsRestart } from './allocation.ts'
import { parseMilliQuantity } from '../quantity.ts'
import { podQuantity } from '../resource/pod-resources.ts'
import { qosClass, type QosClass } from '../resource/qos.ts'

/** Why a resize is not begun: it may fit later, or never on this node. */
export interface Pending {
  reason: 'Deferred' | 'Infeasible'
  message: string
}

export interface ResizeFacts {
  /** Admitted pods with what they were given. */
  active: readonly Pod[]
  allocatable: Readonly<Record<string, string>>
  /** Guaranteed pods have CPUs or memory of their own, which do not change. */
  pinned: { cpu: boolean; memory: boolean }
  /** Burstable pods have swap by what they ask for, which does not change. */
  swaps?: boolean
}

const refusals = {
  static_pod: 'In-place resize of static-pods is not supported',
  swap_limitation: 'In-place resize of containers with swap is not supported',
  guaranteed_pod_cpu_manager_static_policy:
    'Resize is infeasible for Guaranteed Pods alongside CPU Manager static policy',
  guaranteed_pod_memory_manager_static_policy:
    'Resize is infeasible for Guaranteed Pods alongside Memory Manager static policy',
} as const

/** Why a resize can never be granted, as metrics name it. */
export const infeasibleDetail = ({ message }: Pending): string =>
  Object.entries(refusals).find(([, text]) => text === message)?.[0] ?? 'insufficient_node_allocatable'

/** @param pod as its spec wants it. @param given as it is. Undefined when it may have that at once. */
export function obstacleToResize(pod: Pod, facts: ResizeFacts, given: Pod = pod): Pending | undefined {
  const never = (message: string): Pending => ({ reason: 'Infeasible', message })
  if (isStatic(pod)) return never(refusals.static_pod)
  if (qosClass(pod) === 'Guaranteed') {
    if (facts.pinned.cpu) return never(refusals.guaranteed_pod_cpu_manager_static_policy)
    if (facts.pinned.memory) return never(refusals.guaranteed_pod_memory_manager_static_policy)
  }
  if (facts.swaps && qosClass(pod) === 'Burstable' && changesMemory(given, pod)) return never(refusals.swap_limitation)
  for (const name of ['cpu', 'memory'] as const) {
    const requested = podQuantity(pod, 'requests', name)
    const capacity = parseMilliQuantity(facts.allocatable[name] ?? '0', name)
    if (requested <= capacity) continue
    const shown = (milli: bigint): bigint => (name === 'cpu' ? milli : milli / 1000n)
    return never(
      `Node didn't have enough capacity: ${name}, requested: ${shown(requested)}, capacity: ${shown(capacity)}`,
    )
  }
  const others = facts.active.filter(({ metadata }) => metadata?.uid !== pod.metadata?.uid)
  const [shortage] = shortagesOf(pod, others, facts.allocatable)
  return shortage && { reason: 'Deferred', message: outOf(shortage).message }
}

/** Whether a container that goes on running is to ask for more or less memory: by that it has swap. */
function changesMemory(given: Pod, wanted: Pod): boolean {
  const requestOf = (pod: Pod, name: string): string | undefined =>
    [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])].find((one) => one.name === name)?.resources
      ?.requests?.['memory']
  return [...(wanted.spec?.initContainers ?? []), ...(wanted.spec?.containers ?? [])].some((container) => {
    const [before, after] = [requestOf(given, container.name), requestOf(wanted, container.name)].map((amount) =>
      parseMilliQuantity(amount ?? '0', 'requests.memory'),
    )
    return before !== after && !needsRestart(container, ['memory'])
  })
}

export interface Waiting {
  /** As wanted. */
  pod: Pod
  /** As it is. */
  given: Pod
  sinceMs: number
}

/** Who gets the next chance: who gives back, then by priority, then Guaranteed before others, then who waited longest. */
export function byTurn(a: Waiting, b: Waiting): number {
  const grows = ({ pod, given }: Waiting): number =>
    Number(
      (['cpu', 'memory'] as const).some(
        (name) => podQuantity(pod, 'requests', name) > podQuantity(given, 'requests', name),
      ),
    )
  const classes: Record<QosClass, number> = { Guaranteed: 0, Burstable: 1, BestEffort: 2 }
  return (
    grows(a) - grows(b) ||
    (b.pod.spec?.priority ?? 0) - (a.pod.spec?.priority ?? 0) ||
    classes[qosClass(a.pod)] - classes[qosClass(b.pod)] ||
    a.sinceMs - b.sinceMs
  )
}
