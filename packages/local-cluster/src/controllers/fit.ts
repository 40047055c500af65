// Whether a pod fits on a node. Pure.
import type { Node, Pod, Taint, Toleration } from 'kubernetes-types/core/v1.d.ts'
import { quantity } from '../kinds/validate.ts'

const isOver = (pod: Pod): boolean => pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed'

function requestOf(pod: Pod, resource: string): number {
  const of = (one: { resources?: { requests?: Record<string, string> } }): number =>
    quantity(one.resources?.requests?.[resource] ?? '0')
  const main = (pod.spec?.containers ?? []).reduce((sum, container) => sum + of(container), 0)
  const inits = (pod.spec?.initContainers ?? []).map(of)
  return Math.max(main, ...inits)
}

export function tolerates(tolerations: readonly Toleration[], taint: Taint): boolean {
  return tolerations.some(
    ({ key, operator = 'Equal', value = '', effect }) =>
      (effect === undefined || effect === '' || effect === taint.effect) &&
      (key === undefined || key === '' ? operator === 'Exists' : key === taint.key) &&
      (operator === 'Exists' || value === (taint.value ?? '')),
  )
}

/** Why the pod can't run on this node; undefined when it can. @param others pods that the node has */
export function misfit(pod: Pod, node: Node, others: readonly Pod[]): string | undefined {
  const tolerations = pod.spec?.tolerations ?? []
  if (node.spec?.unschedulable) return 'node(s) were unschedulable'
  const taint = (node.spec?.taints ?? []).find(
    (one) => one.effect !== 'PreferNoSchedule' && !tolerates(tolerations, one),
  )
  if (taint) return `node(s) had untolerated taint {${taint.key}: ${taint.value ?? ''}}`
  if (!node.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'))
    return 'node(s) were not ready'
  const labels = node.metadata?.labels ?? {}
  if (Object.entries(pod.spec?.nodeSelector ?? {}).some(([key, value]) => labels[key] !== value)) {
    return "node(s) didn't match Pod's node affinity/selector"
  }
  const allocatable = node.status.allocatable ?? {}
  const running = others.filter((other) => !isOver(other))
  if (allocatable.pods !== undefined && running.length + 1 > quantity(allocatable.pods)) return 'Too many pods'
  for (const resource of ['cpu', 'memory']) {
    const used = running.reduce((sum, other) => sum + requestOf(other, resource), 0)
    const wanted = requestOf(pod, resource)
    if (wanted > 0 && used + wanted > quantity(allocatable[resource] ?? '0')) return `Insufficient ${resource}`
  }
  return undefined
}

/** As the scheduler's users know it. */
export function unschedulableMessage(nodeCount: number, reasons: readonly string[]): string {
  if (nodeCount === 0) return 'no nodes available to schedule pods'
  const counts = new Map<string, number>()
  for (const reason of reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1)
  const texts = [...counts].map(([reason, count]) => `${count} ${reason}`).toSorted((a, b) => (a < b ? -1 : 1))
  return `0/${nodeCount} nodes are available: ${texts.join(', ')}.`
}
