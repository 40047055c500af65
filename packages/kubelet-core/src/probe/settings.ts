// A probe with the API's defaults filled in. Pure.
import type { Container, Probe } from 'kubernetes-types/core/v1.d.ts'
import type { ProbeKind } from './types.ts'

/** What a probe does and when. */
export interface ProbeSettings {
  probe: Probe
  initialDelayMs: number
  periodMs: number
  timeoutMs: number
  successThreshold: number
  failureThreshold: number
}

export const probeKinds: readonly ProbeKind[] = ['startup', 'liveness', 'readiness']

/** How many moments of a period probes may fall on. */
const momentsPerPeriod = 40

/**
 * The moment at which a probe is due again: the nearest of those that all probes of this period share. Many that are
 * run together cost a small part of what each alone would.
 */
export function sharedMoment(due: number, periodMs: number): number {
  const step = periodMs / momentsPerPeriod
  return Math.round(due / step) * step
}

/** Undefined when the container has no such probe. */
export function probeSettings(container: Container, kind: ProbeKind): ProbeSettings | undefined {
  const probe = container[`${kind}Probe`]
  if (!probe) return undefined
  return {
    probe,
    initialDelayMs: (probe.initialDelaySeconds ?? 0) * 1000,
    // Zero means not set.
    periodMs: (probe.periodSeconds || 10) * 1000,
    timeoutMs: (probe.timeoutSeconds || 1) * 1000,
    successThreshold: kind === 'readiness' ? probe.successThreshold || 1 : 1,
    failureThreshold: probe.failureThreshold || 3,
  }
}
