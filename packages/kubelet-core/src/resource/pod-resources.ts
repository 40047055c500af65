// What the containers of a pod ask for together, and the limits of its cgroup. Pure.
import type { Container, Pod, ResourceRequirements } from 'kubernetes-types/core/v1.d.ts'
import { parseMilliQuantity } from '../quantity.ts'
import { type CfsQuota, cpuQuotaUs, cpuShares, defaultCfsQuota } from './container-resources.ts'
import { hugePageLimits } from './huge-pages.ts'
import { podLevelOf } from './pod-level.ts'
import { qosClass } from './qos.ts'

/** The limits of a pod's cgroup; what is left out is not limited. */
export interface PodResources {
  cpuShares: number
  cpuQuotaUs?: number
  cpuPeriodUs?: number
  memoryBytes?: number
  /** Page size as the kernel names it, such as `2MB` → bytes. */
  hugePages?: Readonly<Record<string, number>>
}

type Kind = 'requests' | 'limits'

const quantityOf = (resources: ResourceRequirements | undefined, kind: Kind, name: string): bigint => {
  const own = resources?.[kind]?.[name] ?? (kind === 'requests' ? resources?.limits?.[name] : undefined)
  return parseMilliQuantity(own ?? '0', `${kind}.${name}`)
}

/**
 * What a pod asks for or may use of one resource, in thousandths: what the pod itself says, or its containers together; and the
 * overhead.
 */
export function podQuantity(pod: Pod, kind: Kind, name: string): bigint {
  const podLevel = podLevelOf(pod)
  const overhead = parseMilliQuantity(pod.spec?.overhead?.[name] ?? '0', `overhead.${name}`)
  const isOwn = podLevel?.[kind]?.[name] !== undefined
  return (isOwn ? quantityOf(podLevel, kind, name) : containersQuantity(pod, kind, name)) + overhead
}

/**
 * What the containers of a pod ask for or may use of one resource, in thousandths: all regular containers and sidecars together, or
 * what an init container needs beside the sidecars before it, whichever is more.
 */
export function containersQuantity({ spec }: Pod, kind: Kind, name: string): bigint {
  const of = ({ resources }: Container): bigint => quantityOf(resources, kind, name)
  let sidecars = 0n
  let largestInit = 0n
  for (const container of spec?.initContainers ?? []) {
    const sidecar = container.restartPolicy === 'Always'
    if (sidecar) sidecars += of(container)
    const needed = sidecar ? sidecars : sidecars + of(container)
    if (needed > largestInit) largestInit = needed
  }
  const regular = (spec?.containers ?? []).reduce((sum, container) => sum + of(container), sidecars)
  return regular > largestInit ? regular : largestInit
}

/** Whether every container, or the pod itself, has a limit of this resource. */
function isLimited(pod: Pod, name: string): boolean {
  const podLevel = podLevelOf(pod)
  if (podLevel?.limits?.[name] !== undefined) return true
  return [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])].every(
    ({ resources }) => parseMilliQuantity(resources?.limits?.[name] ?? '0') > 0n,
  )
}

/** @param pageSizes those that the node has, such as `2Mi` */
export function podResources(
  pod: Pod,
  quota: CfsQuota = defaultCfsQuota,
  pageSizes: readonly string[] = [],
): PodResources {
  const pages = hugePageLimits(pageSizes, (name) => podQuantity(pod, 'limits', name) / 1000n)
  const hugePages = pages.length > 0 && {
    hugePages: Object.fromEntries(pages.map(({ pageSize, limit }) => [pageSize, Number(limit)])),
  }
  if (qosClass(pod) === 'BestEffort') return { cpuShares: 2, ...hugePages }
  const memory = Number(podQuantity(pod, 'limits', 'memory') / 1000n)
  return {
    cpuShares: Number(cpuShares(podQuantity(pod, 'requests', 'cpu'))),
    ...(quota.enforced &&
      isLimited(pod, 'cpu') && {
        cpuQuotaUs: Number(cpuQuotaUs(podQuantity(pod, 'limits', 'cpu'), quota)),
        cpuPeriodUs: Number(quota.periodUs),
      }),
    ...(isLimited(pod, 'memory') && { memoryBytes: memory }),
    ...hugePages,
  }
}
