// host-local's part of a network's configuration.
import { addressBytes, addressText, isWithin, parsePrefix } from '@nodelet/linux'
import { z } from 'zod'
import { checked } from '../../checked.ts'
import { CniError, cniCode } from '../../errors.ts'
import { path } from '../../fields.ts'
import type { CniResult } from '../../types.ts'
import { args, routes, wanted } from '../ipam-config.ts'

/** A range of addresses; numbers are the addresses as integers, both ends within. */
export interface Range {
  subnet: string
  bits: 32 | 128
  prefix: number
  start: bigint
  end: bigint
  gateway: bigint
}

export interface HostLocalConfig {
  /** One address is taken from each set. */
  sets: Range[][]
  routes: CniResult['routes']
  dataDir?: string | undefined
  /** A file whose lines become the result's DNS. */
  resolvConf?: string | undefined
  /** Addresses that the pod asks for. */
  wanted: string[]
}

interface RawRange {
  subnet: string
  rangeStart?: string | undefined
  rangeEnd?: string | undefined
  gateway?: string | undefined
}

const range: z.ZodType<RawRange> = z.object({
  subnet: z.string(),
  rangeStart: z.string().optional(),
  rangeEnd: z.string().optional(),
  gateway: z.string().optional(),
})
const sets = z.array(z.array(range).min(1, 'empty range set')).nullish()
const schema = z.object({
  ipam: z.object({
    ranges: sets,
    subnet: z.string().optional(),
    rangeStart: z.string().optional(),
    rangeEnd: z.string().optional(),
    gateway: z.string().optional(),
    routes,
    dataDir: path.optional(),
    resolvConf: path.optional(),
  }),
  args,
  runtimeConfig: z.object({ ipRanges: sets, ips: wanted }).nullish(),
})

/** An address as an integer. @throws RangeError for what is none */
export const addressValue = (address: string): bigint => BigInt(`0x${addressBytes(address).toString('hex')}`)

/** An integer as the text of an address. */
export const addressOf = (value: bigint, bits: 32 | 128): string =>
  addressText(Buffer.from(value.toString(16).padStart(bits / 4, '0'), 'hex'))

/** @throws CniError naming the field and the value */
export function parseHostLocal(config: object): HostLocalConfig {
  const { ipam, args: ofNetwork, runtimeConfig: ofRuntime } = checked('host-local', schema, config)
  const { ranges, subnet, rangeStart, rangeEnd, gateway } = ipam
  const raw = [
    ...(ofRuntime?.ipRanges ?? []),
    ...(subnet === undefined ? [] : [[{ subnet, rangeStart, rangeEnd, gateway }]]),
    ...(ranges ?? []),
  ]
  try {
    const all = raw.map((set) => set.map(rangeOf))
    refuseOverlaps(all)
    return {
      sets: all,
      routes: ipam.routes,
      dataDir: ipam.dataDir,
      resolvConf: ipam.resolvConf || undefined,
      wanted: [...(ofNetwork?.cni?.ips ?? []), ...(ofRuntime?.ips ?? [])],
    }
  } catch (cause) {
    if (cause instanceof CniError) throw cause
    throw new CniError(cniCode.badConfig, `host-local: ${(cause as Error).message}`, { cause })
  }
}

function rangeOf({ subnet, rangeStart, rangeEnd, gateway }: RawRange): Range {
  const { bytes, length } = parsePrefix(subnet)
  const bits = bytes.length === 4 ? 32 : 128
  const first = BigInt(`0x${bytes.toString('hex')}`)
  const size = 1n << BigInt(bits - length)
  const smallest = 4n
  if (size < smallest) throw new CniError(cniCode.badConfig, `network ${subnet} too small to allocate from`)
  if (first % size !== 0n) {
    const net = addressOf(first - (first % size), bits)
    throw new CniError(cniCode.badConfig, `network has host bits set: for ${subnet} it is ${net}/${length}`)
  }
  const last = first + size - (bits === 32 ? 2n : 1n) // IPv4's last is broadcast
  const start = rangeStart === undefined ? first + 1n : within('rangeStart', rangeStart, subnet)
  const end = rangeEnd === undefined ? last : within('rangeEnd', rangeEnd, subnet)
  if (end < start) {
    throw new CniError(
      cniCode.badConfig,
      `rangeStart ${addressOf(start, bits)} is after rangeEnd ${addressOf(end, bits)} in network ${subnet}`,
    )
  }
  return { subnet, bits, prefix: length, start, end, gateway: gatewayOf(gateway, bits) ?? first + 1n }
}

function within(name: string, address: string, subnet: string): bigint {
  if (isWithin(address, subnet)) return addressValue(address)
  throw new CniError(cniCode.badConfig, `${name} ${address} not in network ${subnet}`)
}

/** It may be outside of the subnet, where a route of its own leads to it. */
function gatewayOf(gateway: string | undefined, bits: 32 | 128): bigint | undefined {
  if (gateway === undefined) return undefined
  const value = addressValue(gateway)
  if (gateway.includes(':') === (bits === 128)) return value
  throw new CniError(cniCode.badConfig, `gateway ${gateway} is not of the subnet's family`)
}

/** One address must have one place, and one set one family. */
function refuseOverlaps(all: readonly (readonly Range[])[]): void {
  for (const set of all) {
    if (set.some(({ bits }) => bits !== set[0]?.bits))
      throw new CniError(
        cniCode.badConfig,
        `a range set has both families: ${set.map(({ subnet }) => subnet).join(', ')}`,
      )
  }
  const ranges = all.flat()
  for (const [index, one] of ranges.entries()) {
    const other = ranges
      .slice(index + 1)
      .find(({ bits, start, end }) => bits === one.bits && start <= one.end && end >= one.start)
    if (other) throw new CniError(cniCode.badConfig, `ranges ${one.subnet} and ${other.subnet} overlap`)
  }
}
