// What of cpu and memory the containers of a pod were given, which may lag behind what its spec asks for. Pure.
import type { Container, Pod, PodStatus, ResourceRequirements } from 'kubernetes-types/core/v1.d.ts'
import { isSidecar } from '../pod/actions.ts'
import { parseMilliQuantity } from '../quantity.ts'
import { podLevelOf } from '../resource/pod-level.ts'

/** Container name → requests and limits, of those that can be resized: regular containers and sidecars; {@link wholePod} too. */
export type Allocation = Readonly<Record<string, ResourceRequirements>>

/** What the pod itself asks for goes by a name that no container has. */
export const wholePod = ''

const resizable = ({ spec }: Pod): Container[] => [
  ...(spec?.initContainers ?? []).filter(isSidecar),
  ...(spec?.containers ?? []),
]

export function allocationOf(pod: Pod): Allocation {
  const ofPod = podLevelOf(pod)
  return {
    ...(ofPod && { [wholePod]: ofPod }),
    ...Object.fromEntries(resizable(pod).map(({ name, resources }) => [name, resources ?? {}])),
  }
}

/** What the status says that a kubelet before gave to those that ran; undefined when it says nothing. */
export function allocationIn(status: PodStatus | undefined): Allocation | undefined {
  const statuses = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]
  const ofPod = (status as { resources?: ResourceRequirements } | undefined)?.resources
  const told = [
    ...(ofPod ? [[wholePod, ofPod] as const] : []),
    ...statuses.flatMap(({ name, resources }) => (resources ? [[name, resources] as const] : [])),
  ]
  return told.length > 0 ? Object.fromEntries(told) : undefined
}

/** The pod with what it was given; what was not given anything of its own keeps its spec. */
export function withAllocation(pod: Pod, allocation: Allocation): Pod {
  if (!pod.spec) return pod
  const given = (container: Container): Container => {
    const own = allocation[container.name]
    return own ? { ...container, resources: { ...container.resources, ...own } } : container
  }
  const { initContainers, containers } = pod.spec
  const [ofPod, own] = [podLevelOf(pod), allocation[wholePod]]
  return {
    ...pod,
    spec: {
      ...pod.spec,
      ...(ofPod && own && { resources: { ...ofPod, ...own } }),
      containers: containers.map(given),
      ...(initContainers && { initContainers: initContainers.map((one) => (isSidecar(one) ? given(one) : one)) }),
    },
  }
}

export type Resource = 'cpu' | 'memory'

/** The resources of a container that are to change. */
export function changesOf(from: ResourceRequirements | undefined, to: ResourceRequirements | undefined): Resource[] {
  const amount = (of: ResourceRequirements | undefined, kind: 'requests' | 'limits', name: Resource): bigint =>
    parseMilliQuantity(of?.[kind]?.[name] ?? '0', `${kind}.${name}`)
  return (['cpu', 'memory'] as const).filter((name) =>
    (['requests', 'limits'] as const).some((kind) => amount(from, kind, name) !== amount(to, kind, name)),
  )
}

/** Whether the pod asks for other amounts than it was given. */
export function differs(pod: Pod, allocation: Allocation): boolean {
  const ofPod = podLevelOf(pod)
  if (ofPod && changesOf(allocation[wholePod], ofPod).length > 0) return true
  return resizable(pod).some(({ name, resources }) => changesOf(allocation[name], resources).length > 0)
}

type Resizable = Container & { resizePolicy?: { resourceName: string; restartPolicy: string }[] }

/** Whether one of these resources only changes with a restart of the container. */
export function needsRestart(container: Container, changes: readonly Resource[]): boolean {
  const policies = (container as Resizable).resizePolicy ?? []
  return changes.some((name) =>
    policies.some((policy) => policy.resourceName === name && policy.restartPolicy === 'RestartContainer'),
  )
}
