// Which address comes next. Pure.
import { CniError, cniCode } from '../../errors.ts'
import type { Range } from './config.ts'
import { addressOf, addressValue } from './config.ts'

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

export const isInRange = ({ bits, start, end }: Range, address: string): boolean => {
  const value = addressValue(address)
  return (bits === 128) === address.includes(':') && value >= start && value <= end
}

/**
 * Which address was asked for of which set, one of each.
 *
 * @param wanted with or without prefix. @throws CniError naming what is in no set, or a gateway
 */
export function assignWanted(sets: readonly (readonly Range[])[], wanted: readonly string[]): Map<number, string> {
  const left = new Set(wanted.map(plainAddress))
  const assigned = new Map<number, string>()
  for (const [index, ranges] of sets.entries()) {
    const address = [...left].find((one) => ranges.some((range) => isInRange(range, one)))
    if (address === undefined) continue
    if (ranges.some(({ gateway, bits }) => addressOf(gateway, bits) === address)) {
      throw new CniError(
        cniCode.internal,
        `failed to allocate for range ${index}: requested ip ${address} is subnet's gateway`,
      )
    }
    assigned.set(index, address)
    left.delete(address)
  }
  if (left.size > 0) {
    throw new CniError(cniCode.internal, `failed to allocate all requested IPs: ${[...left].join(' ')}`)
  }
  return assigned
}

/** As the files are named. */
function plainAddress(text: string): string {
  const [address = ''] = text.split('/')
  try {
    return addressOf(addressValue(address), address.includes(':') ? 128 : 32)
  } catch (cause) {
    throw new CniError(cniCode.badConfig, `requested IP: ${(cause as Error).message}`, { cause })
  }
}
