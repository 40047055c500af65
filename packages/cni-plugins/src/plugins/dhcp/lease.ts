// A lease: what a server's acknowledgement means, and what is due when. Pure. @see RFC 2131 section 4.4.5, RFC 3442
import { CniError, cniCode } from '../../errors.ts'
import type { CniResult } from '../../types.ts'
import { addressesIn, numberIn, option } from './message.ts'
import type { DhcpMessage } from './message.ts'

export interface Lease {
  /** With its prefix. */
  address: string
  gateway?: string
  routes: CniResult['routes']
  /** Who gave it: address and, as the next one on the way to it, MAC. */
  server: { address: string; mac: string }
  /** When the server is to be asked for more time, when any server, and when it is over. Milliseconds since 1970; null: never. */
  renewMs: number | null
  rebindMs: number | null
  expireMs: number | null
}

/** Of servers that do not say. */
const defaultSeconds = 3600
const forever = 0xffff_ffff
const [renewShare, rebindShare] = [0.5, 0.85]
const anyAddress = '0.0.0.0'
/** As in rtnetlink: the destination is on the link. */
const scopeLink = 253

/**
 * @param askedMs when the request was sent: from then on the time counts. @param mac whom the answer came from
 * @throws CniError when it does not say the subnet
 */
export function leaseOf({ yourAddress, options }: DhcpMessage, askedMs: number, mac: string): Lease {
  const prefix = prefixOf(options.get(option.subnetMask))
  const [gateway] = addressesIn(options.get(option.routers))
  return {
    address: `${yourAddress}/${prefix}`,
    ...(gateway !== undefined && { gateway }),
    routes: routesOf(options, gateway),
    server: { address: addressesIn(options.get(option.server))[0] ?? anyAddress, mac },
    ...timesOf(options, askedMs),
  }
}

function timesOf(options: DhcpMessage['options'], askedMs: number): Pick<Lease, 'renewMs' | 'rebindMs' | 'expireMs'> {
  const seconds = numberIn(options.get(option.leaseTime)) ?? defaultSeconds
  if (seconds === forever) return { renewMs: null, rebindMs: null, expireMs: null }
  const given = (code: number, atMost: number): number | undefined => {
    const value = numberIn(options.get(code))
    return value !== undefined && value <= atMost ? value : undefined
  }
  const rebind = given(option.rebindingTime, seconds) ?? seconds * rebindShare
  const renew = given(option.renewalTime, rebind) ?? seconds * renewShare
  const after = (value: number): number => askedMs + value * 1000
  // A renewal that is given late may not come after a rebinding that is given early.
  return { renewMs: after(Math.min(renew, rebind)), rebindMs: after(rebind), expireMs: after(seconds) }
}

function prefixOf(mask: Buffer | undefined): number {
  if (mask?.length !== 4) throw new CniError(cniCode.internal, 'DHCP option Subnet Mask not found in DHCPACK')
  const bits = mask.readUInt32BE().toString(2).padStart(32, '0')
  if (/01/.test(bits)) throw new CniError(cniCode.internal, `DHCP option Subnet Mask ${[...mask].join('.')} has gaps`)
  return bits.replaceAll('0', '').length
}

/** With classless routes, servers say all there is: neither the others nor the routers count. */
function routesOf(options: DhcpMessage['options'], gateway: string | undefined): CniResult['routes'] {
  const classless = classlessRoutes(options.get(option.classlessRoutes))
  if (classless.length > 0) return classless
  const routes = staticRoutes(options.get(option.staticRoutes))
  return gateway === undefined ? routes : [...routes, { dst: '0.0.0.0/0', gw: gateway }]
}

const via = (dst: string, gw: string): CniResult['routes'][number] =>
  gw === anyAddress ? { dst, scope: scopeLink } : { dst, gw }

/** Each: length of the prefix, those bytes that it covers, router. What is cut off at the end is left out. */
function classlessRoutes(value: Buffer = Buffer.alloc(0)): CniResult['routes'] {
  const routes: CniResult['routes'] = []
  for (let at = 0; at < value.length;) {
    const length = value[at] ?? 0
    const covered = Math.ceil(length / 8)
    const next = at + 1 + covered + 4
    if (length > 32 || next > value.length) break
    const destination = Buffer.alloc(4)
    destination.set(value.subarray(at + 1, at + 1 + covered))
    const [gw = anyAddress] = addressesIn(value.subarray(next - 4, next))
    routes.push(via(`${[...destination].join('.')}/${length}`, gw))
    at = next
  }
  return routes
}

/** Pairs of destination and router, from the time when the address said how long its prefix is. */
function staticRoutes(value: Buffer | undefined): CniResult['routes'] {
  const addresses = addressesIn(value)
  return Array.from({ length: Math.floor(addresses.length / 2) }, (_, index) => {
    const [destination = '', router = ''] = addresses.slice(index * 2)
    return via(`${destination}/${classLength(destination)}`, router)
  })
}

/** Of class A, B, C; a default route is spelled 0.0.0.0. */
function classLength(address: string): number {
  const first = Number(address.split('.')[0])
  if (address === anyAddress) return 0
  return first < 128 ? 8 : first < 192 ? 16 : first < 224 ? 24 : 32
}

/** What is due, and until when it makes sense. */
export type Step =
  | { kind: 'wait'; untilMs: number }
  | { kind: 'renew' | 'rebind'; untilMs: number }
  | { kind: 'expire' }
  | { kind: 'keep' }

/** Tries that nobody answered since the lease was last given. */
export interface Failures {
  count: number
  /** When the last one was over. */
  lastMs: number
}

/** @param delayMs until a try after so many failures */
export function nextStep(
  { renewMs, rebindMs, expireMs }: Lease,
  nowMs: number,
  failures: Failures | undefined,
  delayMs: (failures: number) => number,
): Step {
  if (renewMs === null || rebindMs === null || expireMs === null) return { kind: 'keep' }
  if (nowMs >= expireMs) return { kind: 'expire' }
  if (nowMs < renewMs) return { kind: 'wait', untilMs: renewMs }
  const [kind, fromMs, untilMs] =
    nowMs < rebindMs ? (['renew', renewMs, rebindMs] as const) : (['rebind', rebindMs, expireMs] as const)
  // The first try of each kind comes at once.
  const dueMs = failures && failures.lastMs >= fromMs ? failures.lastMs + delayMs(failures.count) : fromMs
  if (nowMs >= dueMs) return { kind, untilMs }
  return { kind: 'wait', untilMs: Math.min(dueMs, untilMs) }
}

const [fastTries, fastMs, firstMs] = [4, 2000, 4000]

/**
 * How long to wait after so many failures: a few times briefly, then 4 s, doubling up to a limit.
 * @param random from 0 to 1: moves it by up to a second, so that clients do not ask in step
 */
export function retryDelayMs(failures: number, longestMs: number, random: number): number {
  const base = failures <= fastTries ? fastMs : firstMs * 2 ** Math.min(failures - fastTries - 1, 20)
  return Math.max(0, Math.min(base, longestMs) + (random * 2 - 1) * 1000)
}
