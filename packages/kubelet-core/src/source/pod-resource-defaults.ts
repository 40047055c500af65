// What the API server fills into the resources of a pod as a whole. Pure.
import type { PodSpec, ResourceRequirements } from 'kubernetes-types/core/v1.d.ts'
import { printMilliQuantity } from '../quantity.ts'
import { containersQuantity } from '../resource/pod-resources.ts'
import { isHugePages } from '../validation/resources.ts'
import { isPodLevelResource } from '../validation/pod-resources.ts'

/**
 * Fills in what the pod leaves open: huge pages are limited by what its containers may have; what is limited is requested as its
 * containers do, or else in full. Containers have their defaults already.
 */
export function fillPodResources(spec: PodSpec & { resources?: ResourceRequirements }): void {
  const { resources } = spec
  if (!resources) return
  const requests = { ...resources.requests }
  const limits = { ...resources.limits }
  if (Object.keys(requests).length + Object.keys(limits).length === 0) return
  const together = (kind: 'requests' | 'limits', name: string): string =>
    printMilliQuantity(containersQuantity({ spec }, kind, name))
  for (const name of namesOf(spec, 'limits').filter(isHugePages)) {
    if (!(name in requests)) limits[name] ??= together('limits', name)
  }
  if (Object.keys(limits).length > 0) {
    resources.limits = limits
    for (const name of namesOf(spec, 'requests')) {
      if (isPodLevelResource(name) && !isHugePages(name)) requests[name] ??= together('requests', name)
    }
    for (const [name, limit] of Object.entries(limits)) if (isPodLevelResource(name)) requests[name] ??= limit
  }
  if (Object.keys(requests).length > 0) resources.requests = requests
}

const namesOf = (spec: PodSpec, kind: 'requests' | 'limits'): string[] => {
  const containers = [...(spec.initContainers ?? []), ...(spec.containers ?? [])]
  return [...new Set(containers.flatMap(({ resources }) => Object.keys(resources?.[kind] ?? {})))]
}
