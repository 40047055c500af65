// Eviction thresholds as the configuration gives them. Pure.
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { parseDuration } from '../duration.ts'
import { parseQuantity } from '../quantity.ts'

/** What is measured of a node, by the names of the configuration and those that follow from them. */
export type Signal =
  | 'memory.available'
  | 'allocatableMemory.available'
  | 'nodefs.available'
  | 'nodefs.inodesFree'
  | 'imagefs.available'
  | 'imagefs.inodesFree'
  | 'containerfs.available'
  | 'containerfs.inodesFree'
  | 'pid.available'

/** An amount, or a part of the capacity. */
export type Amount = { quantity: bigint } | { part: number }

/** Met while less than `value` is available. */
export interface Threshold {
  signal: Signal
  value: Amount
  /** As written: `100Mi`, `10%`. */
  text: string
  /** Soft: must be met for so long. Undefined for a hard one. */
  graceMs?: number | undefined
  /** Once met, it stays so until this much more than `value` is available. */
  minReclaim?: Amount | undefined
}

/** In force when nothing is configured. */
const defaults = {
  'memory.available': '100Mi',
  'nodefs.available': '10%',
  'nodefs.inodesFree': '5%',
  'imagefs.available': '15%',
  'imagefs.inodesFree': '5%',
}

type Settings = Pick<
  KubeletConfiguration,
  | 'evictionHard'
  | 'evictionSoft'
  | 'evictionSoftGracePeriod'
  | 'evictionMinimumReclaim'
  | 'mergeDefaultEvictionSettings'
  | 'enforceNodeAllocatable'
>

/** Hard ones first. @throws RangeError naming a minimum reclaim that is no amount */
export function thresholdsOf(settings: Settings): Threshold[] {
  const { evictionHard, evictionSoft, evictionSoftGracePeriod, evictionMinimumReclaim: reclaim } = settings
  const merged = settings.mergeDefaultEvictionSettings ? { ...defaults, ...evictionHard } : (evictionHard ?? defaults)
  const read = (texts: Record<string, string | undefined>, graceOf?: (signal: string) => number): Threshold[] =>
    Object.entries(texts).flatMap(([name, text]) => {
      if (text === undefined || /^(0+|100)(\.0*)?%$/.test(text)) return []
      const least = reclaim[name]
      return {
        signal: name as Signal,
        value: amountOf(text, name),
        text,
        ...(graceOf && { graceMs: graceOf(name) }),
        ...(least !== undefined && { minReclaim: amountOf(least, `evictionMinimumReclaim.${name}`) }),
      }
    })
  const hard = read(merged)
  const memory = hard.find(({ signal }) => signal === 'memory.available')
  const ofPods: Threshold[] =
    memory && settings.enforceNodeAllocatable.includes('pods')
      ? [{ ...memory, signal: 'allocatableMemory.available' }]
      : []
  const soft = read(evictionSoft, (name) => parseDuration(evictionSoftGracePeriod[name] ?? '0'))
  return [...ofPods, ...hard, ...soft]
}

function amountOf(text: string, field: string): Amount {
  if (!text.endsWith('%')) return { quantity: parseQuantity(text, field) }
  const percent = Number(text.slice(0, -1))
  if (!Number.isFinite(percent) || percent < 0 || percent > 100) {
    throw new RangeError(`${field} ${JSON.stringify(text)}: must be a quantity or a percentage from 0% to 100%`)
  }
  // In single precision, as the Go kubelet computes: figures that people compare come out the same.
  return { part: Math.fround(Math.fround(percent) / 100) }
}

/** The amount in units of the capacity. */
export function amountIn(amount: Amount, capacity: bigint): bigint {
  return 'quantity' in amount ? amount.quantity : BigInt(Math.trunc(Number(capacity) * amount.part))
}
