// What of a node its pods may use: all, less what is kept for the system, for Kubernetes and from eviction. Pure.
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { amountIn, thresholdsOf } from '../eviction/thresholds.ts'
import { parseMilliQuantity } from '../quantity.ts'

type Settings = Parameters<typeof thresholdsOf>[0] &
  Pick<KubeletConfiguration, 'kubeReserved' | 'systemReserved' | 'reservedSystemCPUs'>

/** Reserved of one resource for the system and for Kubernetes together, in thousandths. */
export function reservedOf(settings: Settings, name: string): bigint {
  const { kubeReserved, systemReserved, reservedSystemCPUs } = settings
  if (name === 'cpu' && reservedSystemCPUs) return BigInt(countCpus(reservedSystemCPUs)) * 1000n
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

/** `0-3,7` are five. @throws RangeError for what is no list of CPUs */
function countCpus(list: string): number {
  return list.split(',').reduce((sum, part) => {
    const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(part.trim()) ?? []
    const count = Number(last) - Number(first) + 1
    if (first === undefined || count < 1) {
      throw new RangeError(`reservedSystemCPUs ${JSON.stringify(list)}: is no list of CPUs; write for instance 0-3,7`)
    }
    return sum + count
  }, 0)
}
