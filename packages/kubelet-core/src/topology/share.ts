// What gives shares of a node's countable things to containers, at places that suit.
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { ResourceHints, TopologyHint } from './hints.ts'

/** Gives CPUs, memory or devices. */
export interface ShareGiver {
  /** Resource → places for what the container asks for, or has already; empty when it asks for nothing of this kind. */
  hints(pod: Pod, container: Container): ReadonlyMap<string, ResourceHints>
  /** The same for all containers of a pod together. */
  podHints(pod: Pod): ReadonlyMap<string, ResourceHints>
  /**
   * Gives a container its share, near that place where it can be; one that has its share keeps it.
   * @throws ShareError with a reason of its own; Error why there is none
   */
  give(pod: Pod, container: Container, place: TopologyHint, signal: AbortSignal): Promise<void>
  /** The pod has ended. */
  release(podUid: string): Promise<void>
}

/** A share that is refused with a reason of its own. */
export class ShareError extends Error {
  override readonly name = 'ShareError'
  readonly reason: string
  constructor(reason: string, message: string) {
    super(message)
    this.reason = reason
  }
}

const isSidecar = ({ restartPolicy }: Container): boolean => restartPolicy === 'Always'

/** In the order in which they start. */
export const containersOf = ({ spec }: Pod): Container[] => [
  ...(spec?.initContainers ?? []),
  ...(spec?.containers ?? []),
]

/** It has ended when the next one starts. */
export const isPassing = ({ spec }: Pod, container: Container): boolean =>
  !isSidecar(container) && (spec?.initContainers ?? []).some(({ name }) => name === container.name)

/** What containers that have ended by then leave to this one. */
export function reusableFor<T>(pod: Pod, container: Container, shareOf: (container: string) => readonly T[]): T[] {
  let left: T[] = []
  for (const before of containersOf(pod)) {
    if (before.name === container.name) break
    const share = shareOf(before.name)
    if (isPassing(pod, before)) left = [...new Set([...left, ...share])]
    else left = left.filter((one) => !share.includes(one))
  }
  return left
}

/** How much a pod needs at most at one time. */
export function peakOf(pod: Pod, needOf: (container: Container) => number): number {
  let [lasting, peak] = [0, 0]
  for (const container of containersOf(pod)) {
    const now = lasting + needOf(container)
    peak = Math.max(peak, now)
    if (!isPassing(pod, container)) lasting = now
  }
  return peak
}
