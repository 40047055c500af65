// In which order pods end when the machine shuts down, and with how much time. Pure.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { parseDuration } from '../duration.ts'

export interface ShutdownGroup {
  /** Pods of this priority and above, up to the next group. */
  priority: number
  seconds: number
}

type Settings = Pick<
  KubeletConfiguration,
  'shutdownGracePeriod' | 'shutdownGracePeriodCriticalPods' | 'shutdownGracePeriodByPodPriority'
>

/** From which priority on pods are the system's. */
const criticalPriority = 2_000_000_000

/** In the order of their end; none when shutdowns are not waited for. */
export function shutdownGroups(settings: Settings): ShutdownGroup[] {
  const byPriority = settings.shutdownGracePeriodByPodPriority
  if (byPriority.length > 0) {
    return byPriority
      .map(({ priority, shutdownGracePeriodSeconds: seconds }) => ({ priority, seconds }))
      .toSorted((a, b) => a.priority - b.priority)
  }
  const total = parseDuration(settings.shutdownGracePeriod) / 1000
  const critical = parseDuration(settings.shutdownGracePeriodCriticalPods) / 1000
  if (total <= 0) return []
  return [
    { priority: 0, seconds: total - critical },
    { priority: criticalPriority, seconds: critical },
  ]
}

export interface PlannedEnd {
  seconds: number
  pods: { pod: Pod; graceSeconds: number }[]
}

/** Groups without pods are left out. */
export function planShutdown(groups: readonly ShutdownGroup[], pods: readonly Pod[]): PlannedEnd[] {
  const indexOf = (priority: number): number =>
    Math.max(
      0,
      groups.findLastIndex((group) => group.priority <= priority),
    )
  return groups.flatMap(({ seconds }, index) => {
    const own = pods.filter(({ spec }) => indexOf(spec?.priority ?? 0) === index)
    if (own.length === 0) return []
    const graceOf = ({ spec }: Pod): number => Math.min(spec?.terminationGracePeriodSeconds ?? 30, seconds)
    return [{ seconds, pods: own.map((pod) => ({ pod, graceSeconds: graceOf(pod) })) }]
  })
}
