// Values of `fieldRef` and `resourceFieldRef`, for environments. Pure.
import type { Container, ObjectFieldSelector, Pod, ResourceFieldSelector } from 'kubernetes-types/core/v1.d.ts'
import { parseMilliQuantity } from '../quantity.ts'
import { podLevelOf } from '../resource/pod-level.ts'
import { ContainerConfigError } from './config-error.ts'

export interface FieldFacts {
  nodeName: string
  hostIPs: readonly string[]
  podIPs: readonly string[]
  /** Of the node, for limits that are unset: resource name → quantity. */
  allocatable: Readonly<Record<string, string>>
}

/** @throws ContainerConfigError for a path that environments cannot refer to */
export function fieldValue(pod: Pod, { fieldPath }: ObjectFieldSelector, facts: FieldFacts): string {
  const { name, namespace, uid, labels, annotations } = pod.metadata ?? {}
  const subscript = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(fieldPath)
  if (subscript) return (subscript[1] === 'labels' ? labels : annotations)?.[subscript[2] ?? ''] ?? ''
  const values: Record<string, string | undefined> = {
    'metadata.name': name,
    'metadata.namespace': namespace,
    'metadata.uid': uid,
    'spec.nodeName': facts.nodeName,
    'spec.serviceAccountName': pod.spec?.serviceAccountName,
    'status.hostIP': facts.hostIPs[0],
    'status.hostIPs': facts.hostIPs.join(','),
    'status.podIP': facts.podIPs[0],
    'status.podIPs': facts.podIPs.join(','),
  }
  if (!(fieldPath in values)) throw new ContainerConfigError(`unsupported fieldPath: ${fieldPath}`)
  return values[fieldPath] ?? ''
}

/** The quantity divided by the divisor, rounded up. @throws ContainerConfigError for an unknown resource or container */
export function resourceValue(pod: Pod, own: Container, ref: ResourceFieldSelector, facts: FieldFacts): string {
  const all = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])]
  const container = ref.containerName ? all.find(({ name }) => name === ref.containerName) : own
  if (!container) throw new ContainerConfigError(`container ${ref.containerName} not found`)
  const match = /^(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-.+)$/.exec(ref.resource)
  if (!match) throw new ContainerConfigError(`unsupported container resource : ${ref.resource}`)
  const [, kind = '', resource = ''] = match
  const { limits, requests } = container.resources ?? {}
  const podLevel = podLevelOf(pod)
  const quantity =
    kind === 'limits'
      ? (limits?.[resource] ?? podLevel?.limits?.[resource] ?? facts.allocatable[resource])
      : (requests?.[resource] ?? limits?.[resource])
  const value = parseMilliQuantity(quantity ?? '0', ref.resource)
  const divisor = parseMilliQuantity(ref.divisor === undefined || ref.divisor === '0' ? '1' : ref.divisor, 'divisor')
  return String((value + divisor - 1n) / divisor)
}
