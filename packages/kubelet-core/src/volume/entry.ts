// What the volume manager knows of each pod, and whose turn it is.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { NodeletEvent } from '../events.ts'
import type { VolumePlan } from './plan.ts'
import type { SetUpContext } from './set-up.ts'
import type { VolumeWork } from './work.ts'
import type { PodCertificates } from '../certificate/pod-certificates.ts'

export interface Entry {
  pod: Pod
  plans: readonly VolumePlan[]
  /** Volume → since when the pod has wanted it. */
  wantedMs: Map<string, number>
  /** Volume → when to look at it again, for volumes that are ready. */
  ready: Map<string, number>
  /** Volumes that are mounted with an SELinux label. */
  labelled: Set<string>
  /** Ends when all work so far has. */
  tail: Promise<void>
  timer?: NodeJS.Timeout
  /** Volumes to be looked at, in a turn that is waiting already. */
  stale: Set<string>
}

export interface Context extends SetUpContext {
  certificates: Pick<PodCertificates, 'get' | 'forget' | 'onChange'> | undefined
  nodeName: string
  tell: (pod: Pod, event: NodeletEvent) => void
  worked: (work: VolumeWork) => void
  mounted: (plugin: string, seconds: number) => void
  forced: (success: boolean) => void
  entries: Map<string, Entry>
  closing: AbortController
  /** What is being unmounted for want of a pod. */
  leaving: Map<string, Promise<void>>
}

export function newEntry(pod: Pod): Entry {
  return {
    pod,
    plans: [],
    wantedMs: new Map(),
    ready: new Map(),
    labelled: new Set(),
    tail: Promise.resolve(),
    stale: new Set(),
  }
}

export function inTurn<Result>(entry: Entry, work: () => Promise<Result>): Promise<Result> {
  const result = entry.tail.then(work)
  const done = (): void => {}
  entry.tail = result.then(done, done)
  return result
}
