// The sets of all sources as one. Pure.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { mirrorAnnotation } from '../pod/labels.ts'

export interface MergedPods {
  /** By UID, without mirrors. */
  wanted: ReadonlyMap<string, Pod>
  /** Mirrors in the API, by `namespace/name`. */
  mirrors: ReadonlyMap<string, Pod>
}

export const fullName = ({ metadata }: Pod): string => `${metadata?.namespace}/${metadata?.name}`

export const isMirror = ({ metadata }: Pod): boolean => metadata?.annotations?.[mirrorAnnotation] !== undefined

/** Pods in the order of their creation; where two have the same UID, the first source wins. */
export function mergePods(sets: Iterable<readonly Pod[]>): MergedPods {
  const wanted = new Map<string, Pod>()
  const mirrors = new Map<string, Pod>()
  const all = [...sets].flat().toSorted((a, b) => (created(a) < created(b) ? -1 : created(a) > created(b) ? 1 : 0))
  for (const pod of all) {
    const uid = pod.metadata?.uid ?? ''
    if (isMirror(pod)) mirrors.set(fullName(pod), pod)
    else if (!wanted.has(uid)) wanted.set(uid, pod)
  }
  return { wanted, mirrors }
}

const created = ({ metadata }: Pod): string => metadata?.creationTimestamp ?? ''
