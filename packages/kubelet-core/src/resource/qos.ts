// Quality of service: the class of a pod, its place in the cgroup tree, and the OOM score of its containers.
import type { Container, Pod, ResourceRequirements } from 'kubernetes-types/core/v1.d.ts'
import { parseMilliQuantity } from '../quantity.ts'
import { podLevelOf } from './pod-level.ts'

export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort'

const computeResources = ['cpu', 'memory'] as const

/**
 * The class of a pod from the cpu and memory requests and limits of all its containers, init containers included;
 * pod-level resources, when set, decide alone.
 * @throws RangeError naming the field of a malformed quantity.
 */
export function qosClass(pod: Pod): QosClass {
  const podLevel = podLevelOf(pod)
  const all = podLevel
    ? [readResources(podLevel, 'spec.resources')]
    : allContainers(pod).map((container) =>
        readResources(container.resources, `resources of container ${container.name}`),
      )
  const values = all.flatMap(({ requests, limits }) => [...requests.values(), ...limits.values()])
  if (values.length === 0) return 'BestEffort'
  const guaranteed = all.every(({ requests, limits }) =>
    computeResources.every((name) => limits.has(name) && (requests.get(name) ?? limits.get(name)) === limits.get(name)),
  )
  return guaranteed ? 'Guaranteed' : 'Burstable'
}

function allContainers(pod: Pod): Container[] {
  return [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])]
}

function readResources(resources: ResourceRequirements | undefined, field: string) {
  const read = (kind: 'requests' | 'limits') =>
    new Map(
      computeResources
        .map(
          (name) => [name, parseMilliQuantity(resources?.[kind]?.[name] ?? '0', `${field}: ${kind}.${name}`)] as const,
        )
        .filter(([, value]) => value > 0n),
    )
  return { requests: read('requests'), limits: read('limits') }
}

/** The pod's cgroup below `cgroupRoot`, in the cgroupfs driver's naming. */
export function podCgroupPath(pod: Pod, qos: QosClass, cgroupRoot = '/'): string {
  const parent = `${cgroupRoot.replace(/\/+$/, '')}/kubepods`
  const leaf = `pod${pod.metadata?.uid ?? ''}`
  return qos === 'Guaranteed' ? `${parent}/${leaf}` : `${parent}/${qos.toLowerCase()}/${leaf}`
}

/**
 * `oom_score_adj` of a container: Guaranteed −997, BestEffort 1000, Burstable the less the more of the node's memory it asks for.
 * @param memoryRequestBytes the container's memory request, 0 when unset
 */
export function oomScoreAdj(qos: QosClass, memoryRequestBytes: bigint, nodeMemoryBytes: bigint): number {
  if (qos === 'Guaranteed') return -997
  if (qos === 'BestEffort') return 1000
  const score = 1000n - (1000n * memoryRequestBytes) / nodeMemoryBytes
  return Math.min(999, Math.max(3, Number(score)))
}
