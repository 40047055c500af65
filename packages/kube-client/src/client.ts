// The client: typed verbs over one transport.

import type { DeleteOptions, ListMeta, Status } from 'kubernetes-types/meta/v1.d.ts'
import type { KubeConnection } from './connection.ts'
import { ConnectionError } from './errors.ts'
import { readList } from './list-reader.ts'
import { isRecord, sortOut } from './malformed.ts'
import type { MalformedObjectError } from './malformed.ts'
import type { Patch } from './patch.ts'
import type { RateLimit } from './rate-limit.ts'
import type { KubeObject, ObjectRef, Resource } from './resources.ts'
import { apiVersionOf, pathOf } from './resources.ts'
import { inSlices } from './slices.ts'
import { connectionErrorOf, openTransport } from './transport.ts'
import type { QueryValue, RawRequest, RawResponse, RequestReport, Transport } from './transport.ts'
import { runWatch } from './watch.ts'
import type { WatchEvent, WatchRun } from './watch.ts'

/** What selects objects of a collection. */
export interface Selection {
  /** Default: all namespaces. */
  namespace?: string | undefined
  /** For instance `app=web,tier in (a,b)`. */
  labelSelector?: string | undefined
  /** For instance `spec.nodeName=node-1`. */
  fieldSelector?: string | undefined
}

export interface ListOptions extends Selection {
  /** Objects per page; the next page is asked for with `continue`. */
  limit?: number | undefined
  continue?: string | undefined
  resourceVersion?: string | undefined
  resourceVersionMatch?: 'Exact' | 'NotOlderThan' | undefined
  signal?: AbortSignal | undefined
}

/** One page of a collection. `metadata.continue` names the next one, `metadata.resourceVersion` starts a watch. */
export interface KubeList<T extends KubeObject> {
  metadata: ListMeta
  items: T[]
  /** What was no object with a name and so is not among the items; absent when all are good. */
  skipped?: readonly MalformedObjectError[]
}

export interface WriteOptions {
  /** For instance `status`. */
  subresource?: string
  /** Check only, change nothing. */
  dryRun?: boolean
  /** Who owns the fields that are written. */
  fieldManager?: string
  signal?: AbortSignal
}

export interface RemoveOptions {
  /** Seconds; 0 removes at once; default: the object's own. */
  gracePeriodSeconds?: number
  propagationPolicy?: 'Orphan' | 'Background' | 'Foreground'
  /** Remove only this very object, in this very version. */
  preconditions?: { uid?: string; resourceVersion?: string }
  dryRun?: boolean
  signal?: AbortSignal
}

export interface WatchOptions extends Selection, WatchRun {
  /** How long one connection lasts, in seconds; default: 300 to 600, at random. The watch itself goes on. */
  timeoutSeconds?: number
}

/** A client of one API server. Refusals are StatusErrors; no answer is a ConnectionError; abort throws the signal's reason. */
export interface KubeClient extends AsyncDisposable {
  get<T extends KubeObject>(
    resource: Resource<T>,
    ref: ObjectRef,
    options?: { subresource?: string; signal?: AbortSignal },
  ): Promise<T>
  /** Lists one page; items are given the `apiVersion` and `kind` that the server leaves out in lists. */
  list<T extends KubeObject>(resource: Resource<T>, options?: ListOptions): Promise<KubeList<T>>
  /** Creates in the namespace that the object's metadata names. */
  create<T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    options?: Omit<WriteOptions, 'subresource'>,
  ): Promise<T>
  /** Replaces. With a `resourceVersion` in the object a change in between is refused: see {@link isConflict}. */
  update<T extends KubeObject>(resource: Resource<T>, object: T, options?: WriteOptions): Promise<T>
  patch<T extends KubeObject>(
    resource: Resource<T>,
    ref: ObjectRef,
    patch: Patch,
    options?: WriteOptions & {
      /** For apply only: take over fields that others own. */
      force?: boolean
    },
  ): Promise<T>
  /** Answers the object while it terminates, or a Status when it is gone. */
  delete<T extends KubeObject>(resource: Resource<T>, ref: ObjectRef, options?: RemoveOptions): Promise<T | Status>
  /** Deletes every object of a selection. */
  deleteCollection(resource: Resource<KubeObject>, options?: Selection & { signal?: AbortSignal }): Promise<void>
  /** Watches a collection: see {@link runWatch} for how it resumes. Connects when the loop begins. */
  watch<T extends KubeObject>(resource: Resource<T>, options?: WatchOptions): AsyncIterable<WatchEvent<T>>
  /** Any request; 400 and above throws. */
  raw(request: RawRequest): Promise<RawResponse>
  /** Calls back after each request, also of watches, until it is disposed of. */
  observe(listener: (report: RequestReport) => void): Disposable
  /**
   * A client of the same server that keeps to a rate of its own: a request waits for its turn, each connection of a
   * watch counts as one. It shares connections, observers and the end with this one.
   */
  limited(limit: RateLimit): KubeClient
  /** Ends every connection; running requests and watches throw a ConnectionError. */
  close(): Promise<void>
}

/** Default reason for waiting on a watch connection beyond its own timeout, in seconds: then the peer is dead. */
const WATCH_GRACE_SECONDS = 30

/** Makes a client. Nothing is connected, and no credential is read, before the first request. */
export const createKubeClient = (connection: KubeConnection): KubeClient =>
  clientOver(openTransport(connection), connection)

const clientOver = (transport: Transport, connection: KubeConnection): KubeClient => {
  const readBody = async <A>(request: RawRequest, read: (body: RawResponse['body']) => Promise<A>): Promise<A> => {
    const answer = await transport.send(request)
    const tried = `${request.method ?? 'GET'} ${request.path}`
    try {
      return await read(answer.body)
    } catch (cause) {
      request.signal?.throwIfAborted()
      throw connectionErrorOf(tried, connection.server, cause)
    }
  }
  const json = async <A>(request: RawRequest, payload?: { type?: string; value: unknown }): Promise<A> =>
    readBody(
      payload === undefined
        ? request
        : {
            ...request,
            headers: { 'content-type': payload.type ?? 'application/json' },
            body: JSON.stringify(payload.value),
          },
      async (body) => JSON.parse(await body.text()) as A,
    )

  const openWatch = async (
    path: string,
    query: Record<string, QueryValue>,
    seconds: number,
    signal: AbortSignal | undefined,
  ): Promise<AsyncIterable<Uint8Array>> => {
    const answer = await transport.send({ path, query, signal, idleTimeoutMs: (seconds + WATCH_GRACE_SECONDS) * 1000 })
    return namingFailures(answer.body, `watch ${path}`, connection.server)
  }

  const client: KubeClient = {
    get: async (resource, ref, options = {}) =>
      json({ path: pathOf(resource, { ...ref, ...pick(options, 'subresource') }), signal: options.signal }),

    async list<T extends KubeObject>(resource: Resource<T>, options: ListOptions = {}) {
      const { signal, namespace, ...query } = options
      const path = pathOf(resource, namespace === undefined ? {} : { namespace })
      const answer = await readBody({ path, query, signal }, async (body) =>
        inSlices(readList(await bytesOf(body)), signal),
      )
      const { metadata, items } = isRecord(answer) ? answer : { items: answer }
      if (!isRecord(answer) || !Array.isArray(items ?? []))
        throw new ConnectionError(`GET ${path}: the answer is no list: ${JSON.stringify(items).slice(0, 200)}`)
      const names = { apiVersion: apiVersionOf(resource), kind: resource.kind }
      const { good, skipped } = await inSlices(sortOut<T>(path, (items ?? []) as unknown[], names), signal)
      return {
        metadata: isRecord(metadata) ? metadata : {},
        items: good,
        ...(skipped.length > 0 && { skipped }),
      }
    },

    create: async (resource, object, options = {}) => {
      const namespace = object.metadata?.namespace
      if (resource.namespaced && !namespace) {
        throw new TypeError(`create ${resource.plural}: the object needs metadata.namespace`)
      }
      const path = pathOf(resource, namespace === undefined ? {} : { namespace })
      return json({ method: 'POST', path, query: writeQuery(options), signal: options.signal }, { value: object })
    },

    update: async (resource, object, options = {}) => {
      const { name, namespace } = object.metadata ?? {}
      if (!name) throw new TypeError(`update ${resource.plural}: the object needs metadata.name`)
      const at = { name, ...(namespace !== undefined && { namespace }), ...pick(options, 'subresource') }
      const path = pathOf(resource, at)
      return json({ method: 'PUT', path, query: writeQuery(options), signal: options.signal }, { value: object })
    },

    patch: async (resource, ref, patch, options = {}) => {
      if (patch.apply && !options.fieldManager)
        throw new TypeError(`apply ${resource.plural} ${ref.name}: needs fieldManager`)
      if (options.force !== undefined && !patch.apply)
        throw new TypeError('force is for apply patches only: leave it out')
      const path = pathOf(resource, { ...ref, ...pick(options, 'subresource') })
      const query = { ...writeQuery(options), force: options.force }
      const payload = { type: patch.contentType, value: patch.body }
      return json({ method: 'PATCH', path, query, signal: options.signal }, payload)
    },

    delete: async (resource, ref, options = {}) => {
      const { signal, dryRun, ...wishes } = options
      const body: DeleteOptions = {
        apiVersion: 'v1',
        kind: 'DeleteOptions',
        ...wishes,
        ...(dryRun && { dryRun: ['All'] }),
      }
      return json({ method: 'DELETE', path: pathOf(resource, { ...ref }), signal }, { value: body })
    },

    deleteCollection: async (resource, { namespace, signal, ...query } = {}) => {
      const path = pathOf(resource, namespace === undefined ? {} : { namespace })
      await json({ method: 'DELETE', path, query, signal })
    },

    watch<T extends KubeObject>(resource: Resource<T>, options: WatchOptions = {}) {
      const { namespace, labelSelector, fieldSelector, timeoutSeconds, ...run } = options
      const path = pathOf(resource, namespace === undefined ? {} : { namespace })
      const seconds = timeoutSeconds ?? 300 + Math.floor(Math.random() * 301)
      const fixed = { watch: true, allowWatchBookmarks: true, timeoutSeconds: seconds, labelSelector, fieldSelector }
      return runWatch<T>(
        `watch ${path}`,
        async (resourceVersion) => openWatch(path, { ...fixed, resourceVersion }, seconds, run.signal),
        run,
      )
    },

    raw: async (request) => transport.send(request),
    observe: (listener) => transport.observe(listener),
    limited: (limit) => clientOver(transport.limited(limit), connection),
    close: async () => transport.close(),
    [Symbol.asyncDispose]: async () => transport.close(),
  }
  return client
}

const writeQuery = (options: WriteOptions): Record<string, QueryValue> => ({
  dryRun: options.dryRun ? 'All' : undefined,
  fieldManager: options.fieldManager,
})

const pick = (options: { subresource?: string }, key: 'subresource'): { subresource?: string } =>
  options[key] === undefined ? {} : { [key]: options[key] }

const bytesOf = async (body: AsyncIterable<Uint8Array>): Promise<Buffer> => {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** A cut stream reads as a ConnectionError. */
const namingFailures = async function* (
  body: AsyncIterable<Uint8Array>,
  tried: string,
  server: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* body
  } catch (cause) {
    throw connectionErrorOf(tried, server, cause)
  }
}
