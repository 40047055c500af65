// KubeletConfiguration `enforceNodeAllocatable`: what is reserved for the system is also all that the system gets.
import type { Cgroups } from '@nodelet/linux'
import type { KubeletConfiguration } from '../configuration/types.ts'
import { parseMilliQuantity, parseQuantity } from '../quantity.ts'
import { cpuShares } from '../resource/container-resources.ts'

export interface ReservedLimits {
  cgroup: string
  cpuShares?: number
  memoryBytes?: number
  pids?: number
}

/** The limits of the cgroups that the configuration names. Pure. */
export function reservedLimits(
  configuration: Pick<
    KubeletConfiguration,
    'enforceNodeAllocatable' | 'kubeReserved' | 'systemReserved' | 'kubeReservedCgroup' | 'systemReservedCgroup'
  >,
): (ReservedLimits & { what: 'kube' | 'system' })[] {
  const enforced = new Set<string>(configuration.enforceNodeAllocatable)
  return (['system', 'kube'] as const).flatMap((what) => {
    const whole = enforced.has(`${what}-reserved`)
    if (!whole && !enforced.has(`${what}-reserved-compressible`)) return []
    const { cpu, memory, pid }: Readonly<Record<string, string | undefined>> = configuration[`${what}Reserved`]
    const field = `${what}Reserved`
    return [
      {
        what,
        cgroup: configuration[`${what}ReservedCgroup`],
        ...(cpu !== undefined && { cpuShares: Number(cpuShares(parseMilliQuantity(cpu, `${field}.cpu`))) }),
        ...(whole && memory !== undefined && { memoryBytes: Number(parseQuantity(memory, `${field}.memory`)) }),
        ...(whole && pid !== undefined && { pids: Number(parseQuantity(pid, `${field}.pid`)) }),
      },
    ]
  })
}

/** @returns what was done, for events. @throws Error naming a cgroup that is not there: it is the system's to make */
export async function enforceReserved(
  cgroups: Pick<Cgroups, 'exists' | 'update'>,
  configuration: Parameters<typeof reservedLimits>[0],
): Promise<string[]> {
  const done: string[] = []
  for (const { what, cgroup, ...limits } of reservedLimits(configuration)) {
    const path = `/${cgroup.replace(/^\/+|\/+$/g, '')}`
    if (!(await cgroups.exists(path))) {
      throw new Error(`Failed to enforce ${what} Reserved Cgroup Limits on "${cgroup}": cgroup does not exist`)
    }
    await cgroups.update(path, limits)
    done.push(`Updated limits on ${what} reserved cgroup ${cgroup}`)
  }
  return done
}
