// host-local's part of a network's configuration.
import { addressBytes, addressText, isWithin, parsePrefix } from '@nodelet/linux'
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'

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
  routes: { dst: string; gw?: string | undefined }[]
  dataDir?: string | undefined
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
const sets = z.array(z.array(range).min(1)).optional()
const schema = z.object({
  type: z.string(),
  ranges: sets,
  subnet: z.string().optional(),
  rangeStart: z.string().optional(),
  rangeEnd: z.string().optional(),
  gateway: z.string().optional(),
  routes: z.array(z.object({ dst: z.string(), gw: z.string().optional() })).optional(),
  dataDir: z.string().optional(),
  resolvConf: z.string().optional(),
})

/** An address as an integer. @throws RangeError for what is none */
export const addressValue = (address: string): bigint => BigInt(`0x${addressBytes(address).toString('hex')}`)

/** An integer as the text of an address. */
export const addressOf = (value: bigint, bits: 32 | 128): string =>
  addressText(Buffer.from(value.toString(16).padStart(bits / 4, '0'), 'hex'))

const addresses = z.array(z.string()).optional()
const requestSchema = z.object({
  ipam: schema,
  runtimeConfig: z.object({ ipRanges: sets, ips: addresses }).optional(),
  args: z.object({ cni: z.object({ ips: addresses }).optional() }).optional(),
})

/** @throws CniError naming the field and the value */
export function parseHostLocal(config: object): HostLocalConfig {
  const parsed = requestSchema.safeParse(config)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw new CniError(cniCode.badConfig, `${issue?.path.join('.')}: ${issue?.message}`)
  }
  const { ipam, runtimeConfig, args } = parsed.data
  if (ipam.resolvConf) {
    const { resolvConf } = ipam
    throw new CniError(cniCode.unsupportedField, `ipam.resolvConf: ${JSON.stringify(resolvConf)} is not supported`)
  }
  const { ranges, routes = [], dataDir, subnet, rangeStart, rangeEnd, gateway } = ipam
  const ofRuntime = runtimeConfig?.ipRanges ?? []
  const raw = [
    ...ofRuntime,
    ...(subnet === undefined ? [] : [[{ subnet, rangeStart, rangeEnd, gateway }]]),
    ...(ranges ?? []),
  ]
  if (raw.length === 0) throw new CniError(cniCode.badConfig, 'no IP ranges specified')
  try {
    const all = raw.map((set) => set.map(rangeOf))
    refuseOverlaps(all)
    return { sets: all, routes, dataDir, wanted: [...(args?.cni?.ips ?? []), ...(runtimeConfig?.ips ?? [])] }
  } catch (cause) {
    if (cause instanceof CniError) throw cause
    throw new CniError(cniCode.badConfig, (cause as Error).message, { cause })
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
  const within = (name: string, address: string): bigint => {
    if (!isWithin(address, subnet)) throw new CniError(cniCode.badConfig, `${name} ${address} not in network ${subnet}`)
    return addressValue(address)
  }
  const last = first + size - (bits === 32 ? 2n : 1n) // IPv4's last is broadcast
  return {
    subnet,
    bits,
    prefix: length,
    start: rangeStart === undefined ? first + 1n : within('rangeStart', rangeStart),
    end: rangeEnd === undefined ? last : within('rangeEnd', rangeEnd),
    gateway: gateway === undefined ? first + 1n : within('gateway', gateway),
  }
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
