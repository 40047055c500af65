// Requests and limits of a container as the cgroup values that CRI carries.
import type { ResourceRequirements } from 'kubernetes-types/core/v1.d.ts'
import { parseMilliQuantity, parseQuantity } from '../quantity.ts'

/** The CPU period in microseconds that quotas refer to, unless it is configured. */
export const cpuPeriodUs = 100_000n

/** How CPU limits are kept: KubeletConfiguration `cpuCFSQuota` and `cpuCFSQuotaPeriod`. */
export interface CfsQuota {
  enforced: boolean
  periodUs: bigint
}

export const defaultCfsQuota: CfsQuota = { enforced: true, periodUs: cpuPeriodUs }
const minShares = 2n
const maxShares = 262_144n
const minQuotaUs = 1000n

/** The part of CRI `LinuxContainerResources` that requests and limits decide; zero means no limit. */
export interface ContainerCgroupValues {
  cpuShares: bigint
  cpuQuota: bigint
  cpuPeriod: bigint
  memoryLimitInBytes: bigint
}

/** `cpu.shares` for a request in thousandths of a core: 1024 per core, at least 2. */
export function cpuShares(milliCpu: bigint): bigint {
  const shares = (milliCpu * 1024n) / 1000n
  return shares < minShares ? minShares : shares > maxShares ? maxShares : shares
}

/** `cpu.cfs_quota_us` for a limit in thousandths of a core; 0 when there is no limit. */
export function cpuQuotaUs(milliCpu: bigint, { enforced, periodUs }: CfsQuota = defaultCfsQuota): bigint {
  if (!enforced || milliCpu <= 0n) return 0n
  const quota = (milliCpu * periodUs) / 1000n
  return quota < minQuotaUs ? minQuotaUs : quota
}

/** @throws RangeError naming the field of a malformed quantity. */
export function containerCgroupValues(
  resources: ResourceRequirements | undefined,
  quota: CfsQuota = defaultCfsQuota,
): ContainerCgroupValues {
  const { requests, limits } = resources ?? {}
  const milliLimit = parseMilliQuantity(limits?.['cpu'] ?? '0', 'limits.cpu')
  const milliRequest =
    requests?.['cpu'] === undefined ? milliLimit : parseMilliQuantity(requests['cpu'], 'requests.cpu')
  return {
    cpuShares: cpuShares(milliRequest),
    cpuQuota: cpuQuotaUs(milliLimit, quota),
    cpuPeriod: quota.periodUs,
    memoryLimitInBytes: parseQuantity(limits?.['memory'] ?? '0', 'limits.memory'),
  }
}
