// A collection kept in memory: listed once, then followed by a watch.

import { DEFAULT_BACKOFF, delayAfter, pause } from './backoff.ts'
import type { Backoff } from './backoff.ts'
import type { KubeClient, Selection } from './client.ts'
import { isGone } from './errors.ts'
import { listAll } from './list.ts'
import { tellOnce } from './malformed.ts'
import { createCache } from './cache.ts'
import type { InformerHandlers } from './cache.ts'
import type { KubeObject, ObjectRef, Resource } from './resources.ts'
import { inSlices } from './slices.ts'

export interface InformerOptions extends Selection {
  signal?: AbortSignal
  backoff?: Backoff
  /** Objects per page of a list; default 500. */
  pageSize?: number
  /**
   * Told of each failure: of the server, which is tried again, of a handler, and as a {@link MalformedObjectError}, once, of what
   * the server gives that is no object with a name. Default: a process warning.
   */
  onError?: (error: unknown) => void
}

/** Of a large collection a cache need not keep everything. */
export interface InformerTransform<T extends KubeObject> {
  /**
   * What is kept of each object, for instance without `metadata.managedFields`, which few read: another object, for the given one is not
   * changed. Of the metadata it leaves `name`, `namespace`, `uid` and `resourceVersion` as they are. An object for which it throws
   * is kept as a whole, and `onError` is told. Default: all is kept.
   */
  transform?: (object: T) => T
}

/** A cache that follows its collection until it is stopped. Objects are shared: do not change them. */
export interface Informer<T extends KubeObject> extends AsyncDisposable {
  /** Fulfilled once the first list is in the cache; rejected when stopped before. */
  readonly synced: Promise<void>
  /** What is known at this moment, in no order: of a list that is known, all. */
  list(): T[]
  get(ref: ObjectRef): T | undefined
  /** Calls the handlers on each change, and `added` at once for each object that is known. Returns what ends it. */
  subscribe(handlers: InformerHandlers<T>): () => void
  /** Ends the watch; the cache stays readable. */
  stop(): Promise<void>
}

/** Starts an informer: a list, then a watch from its version; a new list when the server forgot that version. */
export const startInformer = <T extends KubeObject>(
  client: Pick<KubeClient, 'list' | 'watch'>,
  resource: Resource<T>,
  options: InformerOptions & InformerTransform<NoInfer<T>> = {},
): Informer<T> => {
  const { signal: outer, backoff = DEFAULT_BACKOFF, pageSize = 500, transform, ...rest } = options
  const { onError = (error) => process.emitWarning(error instanceof Error ? error : String(error)), ...selection } =
    rest
  const stopping = new AbortController()
  const signal = outer ? AbortSignal.any([outer, stopping.signal]) : stopping.signal
  const cache = createCache<T>(onError)
  const skipping = tellOnce(onError)
  const first = Promise.withResolvers<void>()
  // Who does not await `synced` still learns of failures through onError.
  first.promise.catch(() => {})

  const kept = (object: T): T => {
    try {
      return transform ? transform(object) : object
    } catch (error) {
      onError(error)
      return object
    }
  }

  /** One list and its watch. Only an error ends it. */
  const follow = async (progress: () => void): Promise<void> => {
    const {
      metadata,
      items,
      skipped = [],
    } = await listAll(client, resource, {
      ...selection,
      limit: pageSize,
      signal,
      transform: transform && kept,
    })
    signal.throwIfAborted()
    skipping.keepOnly(skipped)
    for (const error of skipped) skipping.tell(error)
    await inSlices(cache.replace(items), signal)
    progress()
    first.resolve()
    const { resourceVersion } = metadata
    const onRetry = (error: unknown): void => onError(error)
    for await (const { type, object } of client.watch(resource, {
      ...selection,
      resourceVersion,
      signal,
      backoff,
      onRetry,
      onSkipped: skipping.tell,
    })) {
      signal.throwIfAborted()
      if (type === 'DELETED') cache.remove(kept(object))
      else if (type !== 'BOOKMARK') cache.put(kept(object))
    }
  }

  const run = async (): Promise<void> => {
    let failures = 0
    while (!signal.aborted) {
      let listed = false
      try {
        await follow(() => (listed = true))
      } catch (error) {
        if (signal.aborted) break
        // An expired version is the ordinary way to a new list.
        if (!isGone(error)) onError(error)
        if (listed) failures = 0
        failures++
        // Aborting the pause ends the loop by its condition.
        await pause(delayAfter(failures, backoff, Math.random()), signal).catch(() => {})
      }
    }
    first.reject(signal.reason)
  }
  const done = run()

  const stop = async (): Promise<void> => {
    stopping.abort()
    await done
  }
  return {
    synced: first.promise,
    list: cache.list,
    get: cache.get,
    subscribe: cache.subscribe,
    stop,
    [Symbol.asyncDispose]: stop,
  }
}
