// What a container asked for and did not get, though it was made. Pure.
import type { ContainerConfig } from '@nodelet/cri-api'
import { missingCapabilities } from '../capabilities.ts'
import type { HostFacts } from './facts.ts'
import { clampOomScore } from './process.ts'

/** One sentence for each; verbose ContainerStatus shows them. */
export function specNotes(
  { linux, mounts }: Pick<ContainerConfig, 'linux' | 'mounts'>,
  host: HostFacts,
  { hasLabels }: { hasLabels: boolean },
): string[] {
  const { resources, securityContext: security } = linux ?? {}
  const missing = security?.privileged ? [] : missingCapabilities(security?.capabilities, host.capabilities)
  const asked = Number(resources?.oomScoreAdj ?? 0n)
  const score = clampOomScore(asked, host)
  const labels = security?.selinuxOptions !== undefined || mounts.some((mount) => mount.selinuxRelabel)
  return [
    ...(missing.length > 0 ? [`capabilities ${missing.join(', ')} are left out: this runtime does not have them`] : []),
    ...(score === asked ? [] : [`oom_score_adj is ${score}, not ${asked}: this runtime may not go lower`]),
    ...(labels && !hasLabels ? ['SELinux labels are left out: this runtime has them off'] : []),
    ...(resources?.hugepageLimits.length && !host.hugetlb
      ? ['limits of huge pages are left out: this kernel has no hugetlb controller']
      : []),
  ]
}
