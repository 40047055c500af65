// How long pods take from their creation until the API server knows that they run.
import type { ContainerStatus, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { ObservedStatus } from './status.ts'

/** In milliseconds since the epoch. */
export interface Span {
  beganMs: number
  endedMs: number
}

export interface StartTime {
  totalSeconds: number
  /** Without pulls of images and init containers. */
  ownSeconds: number
}

export interface StartTimes {
  /** What is told of other pods is not kept. */
  begin(podUid: string): void
  /** Images of the pod were pulled. */
  pulled(podUid: string, span: Span): void
  /** The API server has this status now. @returns what the start took, once per pod */
  written(pod: Pod, status: ObservedStatus, nowMs: number): StartTime | undefined
  forget(podUid: string): void
}

/** Pods that had been started before this kubelet was are not measured. */
export function createStartTimes(): StartTimes {
  /** Pods that have not started, and the pulls of their images. */
  const pulls = new Map<string, Span[]>()
  return {
    begin: (podUid) => void pulls.set(podUid, []),
    pulled: (podUid, span) => void pulls.get(podUid)?.push(span),
    written(pod, status, nowMs) {
      const { uid = '', creationTimestamp } = pod.metadata ?? {}
      const own = pulls.get(uid)
      if (!own || !hasStarted(pod, status)) return undefined
      const spans = [...own, ...initSpans(status)]
      pulls.delete(uid)
      if (!creationTimestamp || isStateful(pod) || hasStarted(pod, pod.status)) return undefined
      const beganMs = Date.parse(String(creationTimestamp))
      const totalMs = Math.max(0, nowMs - beganMs)
      return { totalSeconds: totalMs / 1000, ownSeconds: Math.max(0, totalMs - covered(spans)) / 1000 }
    },
    forget: (podUid) => void pulls.delete(podUid),
  }
}

/** All containers run or have run. */
function hasStarted(pod: Pod, status: ObservedStatus | undefined): boolean {
  const { containerStatuses = [] } = status ?? {}
  const all = pod.spec?.containers.length ?? 0
  return all > 0 && containerStatuses.length === all && containerStatuses.every(({ state }) => state && !state.waiting)
}

function initSpans({ initContainerStatuses = [] }: ObservedStatus): Span[] {
  const ends = (one: ContainerStatus): Span[] => {
    const { startedAt, finishedAt } = one.state?.terminated ?? {}
    return startedAt && finishedAt
      ? [{ beganMs: Date.parse(String(startedAt)), endedMs: Date.parse(String(finishedAt)) }]
      : []
  }
  return initContainerStatuses.flatMap(ends)
}

/** How long at least one of them lasted. */
function covered(spans: readonly Span[]): number {
  let [sum, endMs] = [0, -Infinity]
  for (const { beganMs, endedMs } of spans.toSorted((a, b) => a.beganMs - b.beganMs)) {
    sum += Math.max(0, endedMs - Math.max(beganMs, endMs))
    endMs = Math.max(endMs, endedMs)
  }
  return sum
}

const stateless = new Set(['name', 'configMap', 'downwardAPI', 'emptyDir', 'projected', 'secret', 'image'])

/** Volumes that others bring take their own time. */
const isStateful = ({ spec }: Pod): boolean =>
  (spec?.volumes ?? []).some((volume) => Object.keys(volume).some((key) => !stateless.has(key)))
