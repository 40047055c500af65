// What the sources say, brought to those who act upon it: mirrors, statuses, workers.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { configHashAnnotation, isStatic, mirrorAnnotation } from '../pod/labels.ts'
import type { PodManager } from '../pod/manager.ts'
import { fullName, mergePods } from '../source/merge.ts'
import type { Mirrors } from '../source/mirror.ts'
import type { PodSource } from '../source/source.ts'
import type { StatusWriter } from '../status-writer.ts'

export interface PodSetsOptions {
  sources: readonly PodSource[]
  manager: Pick<PodManager, 'update' | 'pods' | 'unwanted'>
  statuses: Pick<StatusWriter, 'observe' | 'adopt'>
  /** None without an API. */
  mirrors: Mirrors | undefined
}

export interface PodSets {
  /** Begins to read the sources. */
  start(): Promise<void>
  /** Whether the source of this name has been read. */
  isReady(source: string): boolean
  /** Brings to all what the sources said last: a static pod has ended, or a mirror could not be removed. */
  again(): void
  /** Fulfilled once all sources have been read. */
  readonly allReady: Promise<void>
  close(): Promise<void>
}

/** The mirror that shows this very pod, not one before it. */
const mirrorOf = ({ metadata }: Pod, mirror: Pod | undefined): Pod | undefined =>
  mirror?.metadata?.annotations?.[mirrorAnnotation] === metadata?.annotations?.[configHashAnnotation]
    ? mirror
    : undefined

export function createPodSets({ sources, manager, statuses, mirrors }: PodSetsOptions): PodSets {
  const sets = new Map<string, readonly Pod[]>()
  const ready = new Set<string>()
  const allReady = Promise.withResolvers<void>()

  /** As the status writer last saw them. */
  const observed = new Map<string, Pod | undefined>()

  const apply = (): void => {
    const { wanted, mirrors: known } = mergePods(sets.values())
    for (const uid of observed.keys()) if (!wanted.has(uid)) observed.delete(uid)
    for (const [uid, pod] of wanted) {
      if (isStatic(pod) && !mirrors) continue
      const inApi = isStatic(pod) ? mirrorOf(pod, known.get(fullName(pod))) : pod
      if (observed.has(uid) && observed.get(uid) === inApi) continue
      observed.set(uid, inApi)
      if (inApi && !isStatic(pod)) statuses.adopt(uid, inApi)
      statuses.observe(uid, inApi)
    }
    const statics = [...wanted.values()].filter(isStatic)
    if (ready.size === sources.length) {
      manager.update(wanted)
      // The mirror of a static pod shows how that ends; the next one's comes after.
      const ending = manager.unwanted().filter(isStatic)
      const busy = new Set(ending.map(fullName))
      mirrors?.update([...statics, ...ending], known)
      if (ready.has('api')) for (const pod of statics) if (!busy.has(fullName(pod))) mirrors?.ensure(pod)
      allReady.resolve()
    } else {
      // Nothing is ended before all sources have been read: what is missing may yet come.
      manager.update(new Map([...manager.pods().map((pod) => [pod.metadata?.uid ?? '', pod] as const), ...wanted]))
    }
  }

  return {
    async start() {
      for (const source of sources) {
        await source.start((pods) => {
          sets.set(source.name, pods)
          ready.add(source.name)
          apply()
        })
      }
    },
    isReady: (source) => ready.has(source),
    again() {
      if (ready.size === sources.length) apply()
    },
    allReady: allReady.promise,
    async close() {
      await Promise.all(sources.map(async (one) => one.close()))
    },
  }
}
