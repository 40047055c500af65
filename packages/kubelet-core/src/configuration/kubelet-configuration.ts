// A KubeletConfiguration, read and checked.
import { parseDuration } from '../duration.ts'
import { kubeletConfigurationSchema } from './schema.ts'
import type { KubeletConfiguration } from './types.ts'

export type { KubeletConfiguration, KubeletConfigurationInput } from './types.ts'

/**
 * Checks a configuration and completes it.
 * @param source named in errors, for instance the path of the file
 * @throws RangeError naming every wrong field and its value
 */
export function parseKubeletConfiguration(input: unknown, source: string): KubeletConfiguration {
  const result = kubeletConfigurationSchema.safeParse(input)
  const problems = result.success
    ? conflicts(result.data)
    : result.error.issues.map(({ path, message }) => `${path.join('.') || '(top)'}${shown(input, path)}: ${message}`)
  if (!result.success || problems.length > 0) throw new RangeError(`${source}: ${problems.join('; ')}`)
  const { serializeImagePulls, maxParallelImagePulls = 1 } = result.data
  return { ...result.data, serializeImagePulls: serializeImagePulls ?? maxParallelImagePulls < 2 }
}

function shown(input: unknown, path: readonly PropertyKey[]): string {
  const value = path.reduce<unknown>(
    (object, key) => (object as Record<PropertyKey, unknown> | null | undefined)?.[key],
    input,
  )
  return value === undefined || typeof value === 'object' ? '' : ` ${JSON.stringify(value)}`
}

/** What no field says alone. */
function conflicts(config: KubeletConfiguration): string[] {
  const problems: string[] = []
  const check = (fine: boolean, problem: string): void => {
    if (!fine) problems.push(problem)
  }
  const { imageGCHighThresholdPercent: high, imageGCLowThresholdPercent: low } = config
  check(low < high, `imageGCLowThresholdPercent ${low}: must be less than imageGCHighThresholdPercent ${high}`)
  for (const signal of Object.keys(config.evictionSoft)) {
    const given = config.evictionSoftGracePeriod[signal] !== undefined
    check(given, `evictionSoft.${signal}: evictionSoftGracePeriod must have this signal too`)
  }
  const total = parseDuration(config.shutdownGracePeriod)
  const critical = parseDuration(config.shutdownGracePeriodCriticalPods)
  check(total === 0 || total >= 1000, `shutdownGracePeriod "${config.shutdownGracePeriod}": must be 0 or at least 1s`)
  check(
    critical <= total,
    `shutdownGracePeriodCriticalPods "${config.shutdownGracePeriodCriticalPods}": must not be longer than shutdownGracePeriod`,
  )
  check(
    total === 0 || config.shutdownGracePeriodByPodPriority.length === 0,
    'shutdownGracePeriodByPodPriority: cannot be given together with shutdownGracePeriod',
  )
  const period = parseDuration(config.cpuCFSQuotaPeriod)
  check(period >= 1 && period <= 1000, `cpuCFSQuotaPeriod "${config.cpuCFSQuotaPeriod}": must be from 1ms to 1s`)
  const monitor = parseDuration(config.containerLogMonitorInterval)
  check(monitor >= 3000, `containerLogMonitorInterval "${config.containerLogMonitorInterval}": must be at least 3s`)
  const { maxContainerRestartPeriod: longest } = config.crashLoopBackOff
  const longestMs = longest === undefined ? 300_000 : parseDuration(longest)
  check(
    longestMs >= 1000 && longestMs <= 300_000,
    `crashLoopBackOff.maxContainerRestartPeriod "${longest}": must be from 1s to 300s`,
  )
  const { idsPerPod } = config.userNamespaces
  check(idsPerPod % 65_536 === 0, `userNamespaces.idsPerPod ${idsPerPod}: must be a multiple of 65536`)
  check(
    !(config.serializeImagePulls && (config.maxParallelImagePulls ?? 1) > 1),
    `maxParallelImagePulls ${config.maxParallelImagePulls}: must not be more than 1 while serializeImagePulls is true`,
  )
  for (const whose of ['kube', 'system'] as const) {
    const enforced = config.enforceNodeAllocatable.some((one) => one.startsWith(`${whose}-reserved`))
    const named = config[`${whose}ReservedCgroup`] !== ''
    check(!enforced || named, `enforceNodeAllocatable: ${whose}-reserved needs ${whose}ReservedCgroup`)
  }
  const enforces = config.enforceNodeAllocatable.some((one) => one !== 'none')
  check(config.cgroupsPerQOS || !enforces, 'enforceNodeAllocatable: must be empty while cgroupsPerQOS is false')
  const { systemCgroups, cgroupRoot } = config
  check(!systemCgroups || cgroupRoot !== '', `systemCgroups "${systemCgroups}": needs cgroupRoot`)
  check(!/^\/+$/.test(systemCgroups), `systemCgroups "${systemCgroups}": must not be the root`)
  return problems
}
