// Containers that have ended since a status was told. Pure.
import type { ContainerStatus } from 'kubernetes-types/core/v1.d.ts'
import type { ObservedStatus } from './status.ts'

export interface Terminated {
  kind: 'container' | 'init_container' | 'ephemeral_container'
  exitCode: number
  reason: string
}

const kinds = [
  ['initContainerStatuses', 'init_container'],
  ['containerStatuses', 'container'],
  ['ephemeralContainerStatuses', 'ephemeral_container'],
] as const

/** Each container once: a later status shows the same end as its state, then as its last state. */
export function newlyTerminated(before: ObservedStatus | undefined, after: ObservedStatus): Terminated[] {
  return kinds.flatMap(([field, kind]) => {
    const known = new Set((before?.[field] ?? []).flatMap(endsOf).map(({ containerID }) => containerID))
    return (after[field] ?? [])
      .flatMap(endsOf)
      .filter(({ containerID }) => containerID && !known.has(containerID))
      .map(({ exitCode, reason = '' }) => ({ kind, exitCode, reason }))
  })
}

const endsOf = ({ state, lastState }: ContainerStatus) =>
  [state?.terminated, lastState?.terminated].filter((one) => one !== undefined)
