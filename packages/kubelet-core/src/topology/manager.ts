// Gives the containers of a pod their shares: CPUs, memory and devices that lie together, as the policy wants it.
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { ResourceGiver } from '../admission/admission.ts'
import type { Rejection } from '../admission/node-fit.ts'
import { decidePlace, type ResourceHints, type TopologyHint, type TopologyRules } from './hints.ts'
import { containersOf, type ShareGiver, ShareError } from './share.ts'

export interface TopologyManagerOptions extends TopologyRules {
  /** KubeletConfiguration `topologyManagerScope`: each container has its place, or the pod as a whole. */
  scope: 'container' | 'pod'
  givers: readonly ShareGiver[]
  /** Told of each pod that was judged: how long it took, and whether it has its place. */
  judged?(milliseconds: number, admitted: boolean): void
}

/** Nobody looked for a place. */
const unplaced: TopologyHint = { affinity: undefined, preferred: false }
const refusal: Rejection = {
  reason: 'TopologyAffinityError',
  message: 'Resources cannot be allocated with Topology locality',
}

export function createTopologyManager(options: TopologyManagerOptions): ResourceGiver {
  const { policy, scope, givers, judged } = options

  const placeOf = (hints: (giver: ShareGiver) => ReadonlyMap<string, ResourceHints>): TopologyHint | undefined => {
    if (policy === 'none') return unplaced
    const all = givers.flatMap((giver) => [...hints(giver).values()])
    const { hint, admitted } = decidePlace(all, options)
    return admitted ? hint : undefined
  }

  const give = async (pod: Pod, container: Container, place: TopologyHint, signal: AbortSignal): Promise<void> => {
    for (const giver of givers) await giver.give(pod, container, place, signal)
  }

  const giveAll = async (pod: Pod, signal: AbortSignal): Promise<Rejection | undefined> => {
    const shared = scope === 'pod' ? placeOf((giver) => giver.podHints(pod)) : unplaced
    if (!shared) return refusal
    for (const container of containersOf(pod)) {
      const place = scope === 'pod' ? shared : placeOf((giver) => giver.hints(pod, container))
      if (!place) return refusal
      await give(pod, container, place, signal)
    }
    return undefined
  }

  return {
    async admit(pod, signal) {
      const began = performance.now()
      const told = (rejection: Rejection | undefined): Rejection | undefined => {
        judged?.(performance.now() - began, rejection !== refusal)
        return rejection
      }
      try {
        return told(await giveAll(pod, signal))
      } catch (error) {
        signal.throwIfAborted()
        const { message } = error as Error
        if (error instanceof ShareError) return told({ reason: error.reason, message })
        const reason = 'UnexpectedAdmissionError'
        return told({ reason, message: `Allocate failed due to ${message}, which is unexpected` })
      }
    },
    async release(podUid) {
      for (const giver of givers) await giver.release(podUid)
    },
  }
}
