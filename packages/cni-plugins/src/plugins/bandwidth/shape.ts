// What a limit is in the kernel's terms. Pure.
import type { NewQdisc, Qdisc } from '@nodelet/linux'
import type { Limit } from './config.ts'

/** How long a packet waits at most, in seconds. */
const latency = 0.025
/** The kernel keeps it as 32 bits. */
const largestLimit = 0xffff_ffff

export function shape({ rate, burst }: Limit): NewQdisc & { kind: 'tbf' } {
  const [bytesPerSecond, bytes] = [Math.floor(rate / 8), Math.floor(burst / 8)]
  const limit = Math.min(Math.floor(bytesPerSecond * latency) + bytes, largestLimit)
  return { kind: 'tbf', handle: 1, rate: bytesPerSecond, burst: bytes, limit }
}

/** The burst, which the kernel rounds, shows in the limit. */
export function hasShape(qdiscs: readonly Qdisc[], wanted: Limit): boolean {
  const { rate, limit } = shape(wanted)
  return qdiscs.some(
    ({ details, parent }) =>
      parent === 'root' && details?.kind === 'tbf' && details.rate === rate && details.limit === limit,
  )
}
