// Resources of a pod as a whole, `spec.resources` of newer API servers. Pure.
import type { Pod, ResourceRequirements } from 'kubernetes-types/core/v1.d.ts'

const isSupported = (name: string): boolean => name === 'cpu' || name === 'memory' || name.startsWith('hugepages-')

/** Undefined when they say nothing: then those of the containers decide alone. */
export function podLevelOf({ spec }: Pod): ResourceRequirements | undefined {
  const own = (spec as { resources?: ResourceRequirements } | undefined)?.resources
  return Object.keys({ ...own?.requests, ...own?.limits }).some(isSupported) ? own : undefined
}
