// What of a node its pods may use: all, less what is kept for the system, for Kubernetes and from eviction. Pure.
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { parseCpuList } from '../cpu/cpu-set.ts'
import { amountIn, thresholdsOf } from '../eviction/thresholds.ts'
import { parseMilliQuantity } from '../quantity.ts'

type Settings = Parameters<typeof thresholdsOf>[0] &
  Pick<KubeletConfiguration, 'kubeReserved' | 'systemReserved' | 'reservedSystemCPUs'>

/** Reserved of one resource for the system and for Kubernetes together, in thousandths. */
export function reservedOf(settings: Settings, name: string): bigint {
  const { kubeReserved, systemReserved, reservedSystemCPUs } = settings
  if (name === 'cpu' && reservedSystemCPUs)
    return BigInt(parseCpuList(reservedSystemCPUs, 'reservedSystemCPUs').length) * 1000n
  const one = (reserved: Readonly<Record<string, string>>, field: string): bigint =>
    parseMilliQuantity(reserved[name] ?? '0', `${field}.${name}`)
  return one(kubeReserved, 'kubeReserved') + one(systemReserved, 'systemReserved')
}

/** What hard eviction keeps free of a resource, in whole units. */
export function evictionReserve(settings: Settings, name: string, capacity: bigint): bigint {
  const signal = { memory: 'memory.available', 'ephemeral-storage': 'nodefs.available' }[name]
  const hard = thresholdsOf(settings).find((one) => one.signal === signal && one.graceMs === undefined)
  return hard ? amountIn(hard.value, capacity) : 0n
}
