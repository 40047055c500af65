// Whether a pod wants a node, and bears its taints. Pure.
import type {
  Node,
  NodeSelector,
  NodeSelectorRequirement,
  NodeSelectorTerm,
  Pod,
  Taint,
  Toleration,
} from 'kubernetes-types/core/v1.d.ts'
import { type LabelOperator, labelRequirement, matchesLabels, SelectorError } from './selector.ts'

const operators: Readonly<Record<string, LabelOperator>> = {
  In: 'in',
  NotIn: 'notin',
  Exists: 'exists',
  DoesNotExist: '!',
  Gt: '>',
  Lt: '<',
}

function holds({ key, operator, values = [] }: NodeSelectorRequirement, labels: Record<string, string>): boolean {
  const known = operators[operator]
  if (!known) return false
  try {
    return matchesLabels([labelRequirement(key, known, values)], labels)
  } catch (error) {
    // One that can't be read selects nothing.
    if (error instanceof SelectorError) return false
    throw error
  }
}

function holdsTerm({ matchExpressions = [], matchFields = [] }: NodeSelectorTerm, node: Node): boolean {
  if (matchExpressions.length + matchFields.length === 0) return false
  const fields = { 'metadata.name': node.metadata?.name ?? '' }
  return (
    matchExpressions.every((one) => holds(one, node.metadata?.labels ?? {})) &&
    matchFields.every((one) => holds(one, fields))
  )
}

/** Whether one of a selector's terms takes this node, for instance of a PersistentVolume's `nodeAffinity.required`. */
export const matchesNodeSelector = ({ nodeSelectorTerms }: NodeSelector, node: Node): boolean =>
  nodeSelectorTerms.some((term) => holdsTerm(term, node))

/** Whether the pod's `nodeSelector` and required node affinity take this node. */
export function wantsNode({ spec }: Pod, node: Node): boolean {
  const labels = node.metadata?.labels ?? {}
  const selector = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
  return (
    Object.entries(spec?.nodeSelector ?? {}).every(([key, value]) => labels[key] === value) &&
    (selector === undefined || matchesNodeSelector(selector, node))
  )
}

/** Whether one of a pod's tolerations bears the taint. */
export function tolerates(tolerations: readonly Toleration[], taint: Taint): boolean {
  return tolerations.some(
    ({ key, operator = 'Equal', value = '', effect }) =>
      (effect === undefined || effect === '' || effect === taint.effect) &&
      (key === undefined || key === '' ? operator === 'Exists' : key === taint.key) &&
      (operator === 'Exists' || value === (taint.value ?? '')),
  )
}
