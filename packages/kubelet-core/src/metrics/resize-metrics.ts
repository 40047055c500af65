// Resizes of pods, counted.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { parseMilliQuantity } from '../quantity.ts'
import type { Allocation } from '../resize/allocation.ts'
import type { PodMetrics } from './pod-metrics.ts'

/** Every amount of every container that is to be another. */
export function countRequested(
  { requestedResizes }: Pick<PodMetrics, 'requestedResizes'>,
  from: Allocation,
  to: Allocation,
): void {
  for (const [name, wanted] of Object.entries(to)) {
    for (const requirement of ['requests', 'limits'] as const) {
      for (const resource of ['cpu', 'memory'] as const) {
        const [before, after] = [from[name]?.[requirement]?.[resource], wanted[requirement]?.[resource]]
        const operation = operationOf(before, after)
        if (operation) requestedResizes.inc({ resource, requirement, operation })
      }
    }
  }
}

function operationOf(before: string | undefined, after: string | undefined): string | undefined {
  if (before === undefined) return after === undefined ? undefined : 'add'
  if (after === undefined) return 'remove'
  const change = parseMilliQuantity(after) - parseMilliQuantity(before)
  return change === 0n ? undefined : change > 0n ? 'increase' : 'decrease'
}

/** Pods whose resize waits, by why, and pods whose resize is under way, by their conditions. */
export function countUnderWay(
  { pendingResizes, inProgressResizes }: Pick<PodMetrics, 'pendingResizes' | 'inProgressResizes'>,
  pods: readonly Pod[],
): void {
  pendingResizes.reset()
  let inProgress = 0
  for (const { status } of pods) {
    for (const { type, status: holds, reason = '' } of status?.conditions ?? []) {
      if (holds !== 'True') continue
      if (type === 'PodResizePending') pendingResizes.inc({ reason: reason.toLowerCase() })
      if (type === 'PodResizeInProgress') inProgress++
    }
  }
  inProgressResizes.set(inProgress)
}
