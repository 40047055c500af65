// What an evicted pod's status and event say. Pure.
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { isSidecar } from '../pod/actions.ts'
import { parseQuantity } from '../quantity.ts'
import { amountText, resourceOf, type StarvedResource } from './signals.ts'
import { amountIn, type Threshold } from './thresholds.ts'
import type { ContainerUsage, Observations, PodUsage } from './usage.ts'

export interface EvictionText {
  message: string
  /** Of the event. */
  annotations: Record<string, string>
}

/** @param usage of the pod; undefined when nothing is known of it */
export function evictionText(
  pod: Pod,
  threshold: Threshold,
  observations: Observations,
  usage: PodUsage | undefined,
): EvictionText {
  const resource = resourceOf(threshold.signal)
  const seen = observations.get(threshold.signal)
  const limit = seen && amountText(amountIn(threshold.value, seen.capacity), resource)
  const figures = seen ? `Threshold quantity: ${limit}, available: ${amountText(seen.available, resource)}. ` : ''
  const offenders = usage ? offendersOf(pod, resource, usage) : []
  const blame = offenders.map(
    ({ name, used, request }) =>
      `Container ${name} was using ${used}, request is ${request}, has larger consumption of ${resource}. `,
  )
  return {
    message: `The node was low on resource: ${resource}. ${figures}${blame.join('')}`,
    annotations: {
      offending_containers: offenders.map(({ name }) => name).join(','),
      offending_containers_usage: offenders.map(({ used }) => used).join(','),
      starved_resource: resource,
    },
  }
}

interface Offender {
  name: string
  used: string
  request: string
}

/** The containers that use more than they asked for. */
function offendersOf({ spec }: Pod, resource: StarvedResource, usage: PodUsage): Offender[] {
  if (resource !== 'memory' && resource !== 'ephemeral-storage') return []
  const sidecars = (spec?.initContainers ?? []).filter(isSidecar)
  return [...sidecars, ...(spec?.containers ?? [])].flatMap((container: Container) => {
    const own = usage.containers.get(container.name)
    if (!own) return []
    const request = container.resources?.requests?.[resource] ?? '0'
    const used = usedOf(own, resource)
    if (used <= parseQuantity(request, `requests.${resource}`)) return []
    return [{ name: container.name, used: amountText(used, resource), request }]
  })
}

const usedOf = ({ memoryBytes, rootfs, logs }: ContainerUsage, resource: 'memory' | 'ephemeral-storage'): bigint =>
  resource === 'memory' ? memoryBytes : rootfs.bytes + logs.bytes
