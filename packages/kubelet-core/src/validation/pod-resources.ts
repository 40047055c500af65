// Rules for the resources of a pod as a whole. Pure.
import type { PodSpec, ResourceRequirements } from 'kubernetes-types/core/v1.d.ts'
import { parseMilliQuantity, printMilliQuantity } from '../quantity.ts'
import { containersQuantity } from '../resource/pod-resources.ts'
import { allContainers, regularContainers } from './containers.ts'
import { duplicate, type FieldErrors, forbidden, invalid, notFound, required, unsupported } from './field-error.ts'
import { isHugePages, resourceNameErrors, resourcesErrors } from './resources.ts'

/** Newer API servers have it. */
type PodLevelSpec = PodSpec & { resources?: ResourceRequirements }

export const isPodLevelResource = (name: string): boolean => name === 'cpu' || name === 'memory' || isHugePages(name)

function* nameErrors(name: string, field: string): FieldErrors {
  const wrong = [...resourceNameErrors(name, field)]
  yield* wrong
  if (wrong.length === 0 && !isPodLevelResource(name)) {
    yield unsupported(field, name, ['cpu', 'hugepages-', 'memory'])
  }
}

export function* podResourcesErrors(spec: PodLevelSpec): FieldErrors {
  const { resources } = spec
  if (!resources) return
  if (spec.os?.name === 'windows') return yield forbidden('spec.resources', 'may not be set for a windows pod')
  if (resources.claims) yield forbidden('spec.resources.claims', 'claims may not be set for Resources at pod-level')
  yield* resourcesErrors(resources, 'spec.resources', nameErrors)
  yield* togetherErrors(spec, resources)
}

/** Containers stay within what their pod has. */
function* togetherErrors(spec: PodSpec, { requests = {}, limits = {} }: ResourceRequirements): FieldErrors {
  for (const [kind, quantities] of [
    ['requests', requests],
    ['limits', limits],
  ] as const) {
    for (const [name, value] of Object.entries(quantities)) {
      if (kind === 'limits' && !isHugePages(name)) continue
      const together = containersQuantity({ spec }, kind, name)
      if (together <= parseMilliQuantity(value)) continue
      const detail = `must be greater than or equal to aggregate container ${kind} of ${printMilliQuantity(together)}`
      yield invalid(`spec.resources.${kind}[${name}]`, value, detail)
    }
  }
  for (const { container, path } of regularContainers(spec)) {
    for (const [name, value] of Object.entries(container.resources?.limits ?? {})) {
      const most = limits[name]
      if (most === undefined || parseMilliQuantity(value) <= parseMilliQuantity(most)) continue
      yield invalid(`${path}.resources.limits[${name}]`, value, `must be less than or equal to pod limits of ${most}`)
    }
  }
}

/** The claims of containers are those of their pod. */
export function* claimsErrors(spec: PodSpec): FieldErrors {
  const known = (spec.resourceClaims ?? []).map(({ name }) => name)
  const are = known.length > 0 ? `: ${known.toSorted().join(', ')}` : ' which is empty'
  for (const { container, path } of allContainers(spec)) {
    const seen = new Set<string>()
    for (const [index, { name }] of (container.resources?.claims ?? []).entries()) {
      const at = `${path}.resources.claims[${index}]`
      if (!name) yield required(at)
      else if (!known.includes(name))
        yield notFound(at, name, `must be one of the names in pod.spec.resourceClaims${are}`)
      if (name && seen.has(name)) yield duplicate(at, name)
      seen.add(name)
    }
  }
}
