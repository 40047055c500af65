// The objects an informer knows, and who is told when they change.

import type { KubeObject, ObjectRef } from './resources.ts'
import { eachInTurn } from './slices.ts'
import type { Steps } from './slices.ts'

/** What is called on changes, in order, synchronously. A handler that throws does not disturb the others. */
export interface InformerHandlers<T extends KubeObject> {
  added?(object: T): void
  updated?(object: T, previous: T): void
  /** The object's last known state. */
  deleted?(object: T): void
}

/** The store behind an informer. */
export interface Cache<T extends KubeObject> {
  list(): T[]
  get(ref: ObjectRef): T | undefined
  /** Adds or updates; the version that is known already changes nothing. */
  put(object: T): void
  remove(object: T): void
  /**
   * Makes the content equal to a list, telling only the differences. To be done in slices, between which nothing else may change
   * the content; who reads meanwhile finds all that was there before, or all of the list once the first difference is told.
   */
  replace(objects: readonly T[]): Steps<void>
  subscribe(handlers: InformerHandlers<T>): () => void
}

const keyOf = (ref: { name?: string; namespace?: string }): string => `${ref.namespace ?? ''}/${ref.name ?? ''}`

/** What is told of one place in the collection. */
interface Difference<T extends KubeObject> {
  added?: T
  updated?: [object: T, previous: T]
  deleted?: T
}

/** Undefined for the version that is known already. */
const differenceOf = <T extends KubeObject>(previous: T | undefined, object: T): Difference<T> | undefined => {
  if (!previous) return { added: object }
  if (previous.metadata?.uid !== object.metadata?.uid) return { deleted: previous, added: object }
  const version = object.metadata?.resourceVersion
  if (version !== undefined && version === previous.metadata?.resourceVersion) return undefined
  return { updated: [object, previous] }
}

/** Makes an empty cache. @param onError told of what handlers throw */
export const createCache = <T extends KubeObject>(onError: (error: unknown) => void): Cache<T> => {
  let objects = new Map<string, T>()
  const subscribers = new Set<InformerHandlers<T>>()

  const guard = (call: () => void): void => {
    try {
      call()
    } catch (error) {
      onError(error)
    }
  }
  // A copy: who subscribes meanwhile has been told already. Who left meanwhile is told no more.
  const present = (): InformerHandlers<T>[] => [...subscribers]
  const tell = ({ added, updated, deleted }: Difference<T>, to: readonly InformerHandlers<T>[]): void => {
    for (const handlers of to) {
      // Deleted and made again while nobody looked: two objects, told as such.
      if (deleted && subscribers.has(handlers)) guard(() => handlers.deleted?.(deleted))
      if (added && subscribers.has(handlers)) guard(() => handlers.added?.(added))
      if (updated && subscribers.has(handlers)) guard(() => handlers.updated?.(...updated))
    }
  }

  return {
    list: () => [...objects.values()],
    get: (ref) => objects.get(keyOf(ref)),
    put(object) {
      const key = keyOf(object.metadata ?? {})
      const difference = differenceOf(objects.get(key), object)
      objects.set(key, object)
      if (difference) tell(difference, present())
    },
    remove(object) {
      if (objects.delete(keyOf(object.metadata ?? {}))) tell({ deleted: object }, present())
    },
    *replace(listed) {
      const next = new Map<string, T>()
      yield* eachInTurn(listed, (object) => next.set(keyOf(object.metadata ?? {}), object))
      const differences: Difference<T>[] = []
      yield* eachInTurn(objects, ([key, deleted]) => next.has(key) || differences.push({ deleted }))
      yield* eachInTurn(next, ([key, object]) => {
        const difference = differenceOf(objects.get(key), object)
        if (difference) differences.push(difference)
      })
      objects = next
      const to = present()
      for (const difference of differences) {
        tell(difference, to)
        yield
      }
    },
    subscribe(handlers) {
      // A set member of its own, so that the same handlers can be subscribed twice.
      const own = { ...handlers }
      const known = [...objects.values()]
      subscribers.add(own)
      for (const object of known) guard(() => own.added?.(object))
      return () => {
        subscribers.delete(own)
      }
    },
  }
}
