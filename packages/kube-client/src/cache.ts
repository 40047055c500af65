// The objects an informer knows, and who is told when they change.

import type { KubeObject, ObjectRef } from './resources.ts'

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
  /** Makes the content equal to a list, telling only the differences. */
  replace(objects: readonly T[]): void
  subscribe(handlers: InformerHandlers<T>): () => void
}

const keyOf = (ref: { name?: string; namespace?: string }): string => `${ref.namespace ?? ''}/${ref.name ?? ''}`

/** Makes an empty cache. @param onError told of what handlers throw */
export const createCache = <T extends KubeObject>(onError: (error: unknown) => void): Cache<T> => {
  const objects = new Map<string, T>()
  const subscribers = new Set<InformerHandlers<T>>()

  const guard = (call: () => void): void => {
    try {
      call()
    } catch (error) {
      onError(error)
    }
  }
  const tell = (call: (handlers: InformerHandlers<T>) => void): void => {
    // A copy: who subscribes meanwhile has been told already. Who left meanwhile is told no more.
    const present = [...subscribers]
    for (const handlers of present) if (subscribers.has(handlers)) guard(() => call(handlers))
  }

  const put = (object: T): void => {
    const key = keyOf(object.metadata ?? {})
    const previous = objects.get(key)
    objects.set(key, object)
    if (!previous) return tell((handlers) => handlers.added?.(object))
    // Deleted and made again while nobody looked: two objects, told as such.
    if (previous.metadata?.uid !== object.metadata?.uid) {
      tell((handlers) => handlers.deleted?.(previous))
      return tell((handlers) => handlers.added?.(object))
    }
    const version = object.metadata?.resourceVersion
    if (version !== undefined && version === previous.metadata?.resourceVersion) return
    tell((handlers) => handlers.updated?.(object, previous))
  }

  return {
    list: () => [...objects.values()],
    get: (ref) => objects.get(keyOf(ref)),
    put,
    remove(object) {
      if (objects.delete(keyOf(object.metadata ?? {}))) tell((handlers) => handlers.deleted?.(object))
    },
    replace(listed) {
      const kept = new Set(listed.map((object) => keyOf(object.metadata ?? {})))
      for (const [key, object] of objects) {
        if (kept.has(key)) continue
        objects.delete(key)
        tell((handlers) => handlers.deleted?.(object))
      }
      for (const object of listed) put(object)
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
