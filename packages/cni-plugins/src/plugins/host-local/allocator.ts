// Which address comes next. Pure.
import type { Range } from './config.ts'
import { addressOf } from './config.ts'

/** Round robin: the first free address after `last`, going through all ranges of the set once. Gateways are not given out. */
export function nextAddress(
  ranges: readonly Range[],
  last: bigint | undefined,
  isFree: (address: string) => boolean,
): { address: string; range: Range } | undefined {
  const at = ranges.findIndex(({ start, end }) => last !== undefined && last >= start && last <= end)
  const first = Math.max(0, at)
  // The range that holds `last` comes first from there on, and once more from its beginning.
  const order = [...ranges.slice(first), ...ranges.slice(0, first), ...ranges.slice(first, first + 1)]
  for (const [index, range] of order.entries()) {
    const from = index === 0 && at >= 0 && last !== undefined ? last + 1n : range.start
    for (let value = from; value <= range.end; value += 1n) {
      if (value === range.gateway) continue
      const address = addressOf(value, range.bits)
      if (isFree(address)) return { address, range }
    }
  }
  return undefined
}
