// Whether the proxy does its work: what /healthz and /livez answer.
import type { IPFamily } from '../net/address.ts'

/** Work on the rules of one family, in milliseconds since the epoch. */
export interface FamilyWork {
  family: IPFamily
  /** The last load that succeeded, or the start; undefined: neither has been. */
  lastUpdated: number | undefined
  /** The oldest change that no load has brought to the kernel yet. */
  waitingSince: number | undefined
}

export interface HealthAnswer {
  code: 200 | 503
  /** JSON, as kube-proxy writes it. */
  body: string
}

/** A family is healthy unless a change has waited this long, in milliseconds. */
export const isInTime = ({ waitingSince }: FamilyWork, now: number, timeoutMs: number): boolean =>
  waitingSince === undefined || now - waitingSince < timeoutMs

/**
 * Pure.
 *
 * @param nodeEligible whether load balancers may send to this node, which /healthz is asked for; undefined for /livez. It decides
 * the code, and `healthy` in the body is not touched by it
 */
export function proxyHealth(
  work: readonly FamilyWork[],
  now: number,
  timeoutMs: number,
  nodeEligible?: boolean,
): HealthAnswer {
  const healthy = work.every((one) => isInTime(one, now, timeoutMs))
  const latest = Math.max(...work.map(({ lastUpdated = -Infinity }) => lastUpdated))
  // In the order of their names, as Go writes a map.
  const ordered = work.toSorted((a, b) => (a.family < b.family ? -1 : 1))
  const status = ordered.map((one) => [
    one.family,
    { lastUpdated: timeText(one.lastUpdated), healthy: isInTime(one, now, timeoutMs) },
  ])
  const body = {
    lastUpdated: timeText(healthy ? now : latest),
    currentTime: timeText(now),
    ...(nodeEligible === undefined ? {} : { nodeEligible }),
    healthy,
    status: Object.fromEntries(status) as object,
  }
  return { code: healthy && nodeEligible !== false ? 200 : 503, body: JSON.stringify(body) }
}

/** As Go writes a time, which drops zeros at the end; a time that never was is its zero. */
function timeText(ms: number | undefined): string {
  if (ms === undefined || ms === -Infinity) return '0001-01-01T00:00:00Z'
  return new Date(ms).toISOString().replace(/\.?0*Z$/, 'Z')
}
