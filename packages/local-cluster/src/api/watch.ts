// Watches: changes as lines of JSON, until the time is over or the client leaves.
import type { ServerResponse } from 'node:http'
import { storeName } from '../kinds/kinds.ts'
import { tableOf } from '../kinds/tables.ts'
import type { Include } from '../kinds/tables.ts'
import type { ApiObject } from '../object.ts'
import type { Change, OneObject, Store } from '../store.ts'
import { ApiError } from './errors.ts'
import type { Accepted, ResourcePath } from './request.ts'

export interface WatchRequest {
  path: ResourcePath
  query: URLSearchParams
  matches: (object: ApiObject) => boolean
  /** Nothing else can match. */
  only: OneObject | undefined
  as: Accepted
  include: Include
}

/** Bytes that may wait for a slow client after what is there at the beginning; beyond, it is cut off and comes back. */
const mostWaiting = 16 * 1024 * 1024
/** Milliseconds; Node's timers count no further. */
const longestTimer = 2 ** 31 - 1
const bookmarkMs = 30_000
const shortestSeconds = 1800

/** Answers with a stream. @throws ApiError before anything is sent */
export function serveWatch(
  store: Store,
  { path, query, matches, only, as, include }: WatchRequest,
  response: ServerResponse,
): void {
  const { kind, namespace, name } = path
  const resource = storeName(kind)
  const from = parseVersion(query.get('resourceVersion') ?? '')
  const isWanted = (object: ApiObject): boolean =>
    (namespace === undefined || object.metadata.namespace === namespace) &&
    (name === undefined || object.metadata.name === name) &&
    matches(object)
  if (from > store.revision()) throw versionTooLarge(from, store.revision())
  const initial = query.get('sendInitialEvents') ?? String(from === 0)
  const past = initial === 'true' || from === 0 ? [] : store.since(resource, from)

  if (response.destroyed) return // the client has left meanwhile

  const stops = new DisposableStack()
  response.on('close', () => stops.dispose())
  /** Nothing may be written after it. */
  const stop = (how: 'end' | 'destroy'): void => {
    stops.dispose()
    response[how]()
  }
  let mostLength = Number.POSITIVE_INFINITY
  response.writeHead(200, { 'content-type': 'application/json' })
  const show = (object: ApiObject): unknown =>
    as === 'table' ? tableOf(kind.resource, [object], { now: Date.now(), include }) : object
  const send = (type: string, object: unknown): void => {
    response.write(`${JSON.stringify({ type, object })}\n`)
    if (response.writableLength > mostLength) stop('destroy')
  }
  const tell = ({ type, object, previous }: Change): void => {
    const was = previous !== undefined && isWanted(previous)
    const is = type !== 'DELETED' && isWanted(object)
    if (is) send(was ? 'MODIFIED' : 'ADDED', show(object))
    else if (was)
      send(
        'DELETED',
        show(
          type === 'DELETED'
            ? object
            : {
                ...previous,
                metadata: { ...previous.metadata, resourceVersion: object.metadata.resourceVersion ?? '' },
              },
        ),
      )
  }
  const bookmark = (annotations?: Record<string, string>): void => {
    const metadata = {
      resourceVersion: String(store.revision()),
      creationTimestamp: null,
      ...(annotations && { annotations }),
    }
    const object = {
      kind: kind.kind,
      apiVersion: kind.group ? `${kind.group}/${kind.version}` : kind.version,
      metadata,
    }
    send(
      'BOOKMARK',
      as === 'table' ? { ...tableOf(kind.resource, [], { now: Date.now(), include }), metadata } : object,
    )
  }

  if (past === undefined) {
    const { status } = new ApiError(410, 'Expired', `too old resource version: ${from} (${store.revision()})`)
    send('ERROR', status)
    stop('end')
    return
  }
  const wantsBookmarks = query.get('allowWatchBookmarks') === 'true' || query.get('allowWatchBookmarks') === '1'
  if (initial === 'true')
    for (const object of store.list(resource, namespace)) if (isWanted(object)) send('ADDED', show(object))
  for (const change of past) tell(change)
  if (query.get('sendInitialEvents') === 'true') bookmark({ 'k8s.io/initial-events-end': 'true' })
  response.flushHeaders()

  mostLength = response.writableLength + mostWaiting
  stops.defer(store.subscribe(resource, tell, only))
  const bookmarks = wantsBookmarks ? setInterval(() => bookmark(), bookmarkMs) : undefined
  stops.defer(() => clearInterval(bookmarks))
  const seconds = Number(query.get('timeoutSeconds')) || shortestSeconds * (1 + Math.random())
  const limit = setTimeout(() => stop('end'), Math.min(seconds * 1000, longestTimer))
  stops.defer(() => clearTimeout(limit))
}

/** `0` and nothing mean any. @throws ApiError */
export function parseVersion(text: string): number {
  if (text === '' || /^\d+$/.test(text)) return Number(text)
  throw new ApiError(
    500,
    '',
    `resourceVersion: Invalid value: ${JSON.stringify(text)}: strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`,
  )
}

export const versionTooLarge = (wanted: number, current: number): ApiError =>
  new ApiError(504, 'Timeout', `Timeout: Too large resource version: ${wanted}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  })
