// What a signal is about: its resource, its condition, and how its amounts are written. Pure.
import type { Pressure } from '../admission/checks.ts'
import type { Signal } from './thresholds.ts'

/** As messages and annotations name it. */
export type StarvedResource = 'memory' | 'ephemeral-storage' | 'inodes' | 'pids'

export function resourceOf(signal: Signal): StarvedResource {
  if (signal === 'pid.available') return 'pids'
  if (signal.endsWith('emory.available')) return 'memory'
  return signal.endsWith('inodesFree') ? 'inodes' : 'ephemeral-storage'
}

export function pressureOf(signal: Signal): Pressure {
  const resource = resourceOf(signal)
  if (resource === 'memory') return 'MemoryPressure'
  return resource === 'pids' ? 'PIDPressure' : 'DiskPressure'
}

/** As the API server writes a quantity: `200Mi` for bytes, `5k` for inodes. */
export function amountText(amount: bigint, resource: StarvedResource): string {
  const [base, suffixes] = resource === 'inodes' ? [1000n, 'kMGTPE'] : [1024n, 'KMGTPE']
  let [rest, power] = [amount, 0]
  while (rest !== 0n && rest % base === 0n && power < suffixes.length) {
    rest /= base
    power++
  }
  if (power === 0) return String(rest)
  return `${rest}${suffixes[power - 1]}${resource === 'inodes' ? '' : 'i'}`
}
