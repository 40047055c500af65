// A small API server for tests: real HTTPS over HTTP/2 or HTTP/1.1, real resource semantics, objects in memory.

import { createServer } from 'node:https'
import { constants, createSecureServer } from 'node:http2'
import type { Http2Stream, ServerHttp2Session } from 'node:http2'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { randomUUID } from 'node:crypto'
import { applyMergePatch, matchesLabels, parseLabelSelector } from '../src/index.ts'
import type { KubeObject } from '../src/index.ts'
import type { Certificates } from './certificates.ts'

interface Change {
  type: 'ADDED' | 'MODIFIED' | 'DELETED'
  version: number
  path: string
  object: KubeObject
}
interface Watcher {
  path: string
  selector: string
  response: ServerResponse
}

export interface Seen {
  method: string
  url: string
  contentType: string | undefined
  body: unknown
  user: string | undefined
}

export interface ApiServer {
  url: string
  seen: Seen[]
  /** Bearer tokens that are let in; a client certificate is let in always. */
  tokens: Set<string>
  /** Stores an object at its path, at once and past HTTP. */
  put(path: string, object: KubeObject): void
  remove(path: string): void
  /** What each list has besides, as it is. */
  alsoListed: unknown[]
  /** Cuts all watches midway: their streams, or with HTTP/1.1 their sockets. */
  cutWatches(): void
  /** Tells clients to take other connections: what runs may go on to its end. */
  goAway(): void
  /** How many connections there were so far. */
  connections(): number
  /** How many pings it has answered. */
  pings(): number
  /** Ends all watches as the server's timeout does. */
  endWatches(): void
  bookmark(): void
  /** Writes bytes to all watches as they are. */
  writeToWatches(text: string): void
  /** Forgets the history: older versions are answered with 410. */
  compact(): void
  watchers(): number
  /** Answers the next requests with this status, once per entry. */
  failNext: { code: number; reason: string; retryAfterSeconds?: number; causes?: { reason: string }[] }[]
  /** Answers the next requests with these, once per entry. */
  answerNext: unknown[]
  close(): Promise<void>
}

const PATH =
  /^\/(?:api|apis\/[^/]+)\/[^/]+(?:\/namespaces\/(?<ns>[^/]+))?\/(?<plural>[^/]+)(?:\/(?<name>[^/]+))?(?:\/(?<sub>[^/]+))?$/

export interface ApiServerOptions {
  /** Default true; else HTTP/1.1 alone. */
  http2?: boolean
  /** Of HTTP/2, in one connection; default 250. */
  mostStreams?: number
}

/** The response's stream; none with HTTP/1.1. */
const streamOf = (response: ServerResponse): Http2Stream | undefined =>
  (response as ServerResponse & { stream?: Http2Stream }).stream

export const startApiServer = async (
  certificates: Certificates,
  { http2 = true, mostStreams = 250 }: ApiServerOptions = {},
): Promise<ApiServer> => {
  let version = 100
  let compacted = 0
  const objects = new Map<string, KubeObject>()
  const history: Change[] = []
  const watchers = new Set<Watcher>()
  const sockets = new Set<Socket>()
  const sessions = new Set<ServerHttp2Session>()
  let connections = 0
  let pings = 0
  const seen: Seen[] = []
  const tokens = new Set<string>()
  const failNext: ApiServer['failNext'] = []
  const alsoListed: unknown[] = []
  const answerNext: unknown[] = []

  const send = (response: ServerResponse, code: number, body: unknown): void => {
    response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  const refuse = (response: ServerResponse, code: number, reason: string, message: string, details = {}): void =>
    send(response, code, {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      reason,
      details,
      code,
    })
  const line = (type: string, object: unknown): string => `${JSON.stringify({ type, object })}\n`

  const within = (object: string, collection: string): boolean => {
    if (object.startsWith(`${collection}/`)) return true
    // All namespaces: /api/v1/pods holds /api/v1/namespaces/x/pods/a
    const at = collection.lastIndexOf('/')
    const [base, plural] = [collection.slice(0, at), collection.slice(at + 1)]
    return object.startsWith(`${base}/namespaces/`) && object.split('/').at(-2) === plural
  }
  const selects = (selector: string, object: KubeObject): boolean =>
    matchesLabels(parseLabelSelector(selector), object.metadata?.labels)

  const commit = (type: Change['type'], path: string, object: KubeObject): KubeObject => {
    version++
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } }
    if (type === 'DELETED') objects.delete(path)
    else objects.set(path, stored)
    history.push({ type, version, path, object: stored })
    for (const watcher of watchers) {
      if (within(path, watcher.path) && selects(watcher.selector, stored)) watcher.response.write(line(type, stored))
    }
    return stored
  }

  const list = (response: ServerResponse, path: string, kind: string, query: URLSearchParams): void => {
    const all = [...objects]
      .filter(([key, object]) => within(key, path) && selects(query.get('labelSelector') ?? '', object))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, { apiVersion: _a, kind: _k, ...rest }]) => rest)
    const [from, at] = (query.get('continue') ?? `0:${version}`).split(':').map(Number)
    if (query.has('continue') && (at ?? 0) < compacted) {
      return refuse(response, 410, 'Expired', 'The provided continue parameter is too old')
    }
    const limit = Number(query.get('limit') ?? 0) || all.length
    const end = (from ?? 0) + limit
    const more = end < all.length ? { continue: `${end}:${at}` } : {}
    const metadata = { resourceVersion: String(at), ...more }
    send(response, 200, { kind, apiVersion: 'v1', metadata, items: [...alsoListed, ...all.slice(from, end)] })
  }

  const watch = (response: ServerResponse, path: string, query: URLSearchParams): void => {
    const selector = query.get('labelSelector') ?? ''
    const from = Number(query.get('resourceVersion') ?? 0)
    response.writeHead(200, { 'content-type': 'application/json' })
    response.flushHeaders()
    if (from > 0 && from < compacted) {
      const gone = {
        kind: 'Status',
        code: 410,
        reason: 'Expired',
        message: `too old resource version: ${from} (${compacted})`,
      }
      response.end(line('ERROR', gone))
      return
    }
    const missed: Change[] =
      from > 0
        ? history.filter((change) => change.version > from)
        : [...objects].map(([key, object]) => ({ type: 'ADDED', version, path: key, object }))
    for (const change of missed) {
      if (within(change.path, path) && selects(selector, change.object))
        response.write(line(change.type, change.object))
    }
    const watcher = { path, selector, response }
    watchers.add(watcher)
    response.on('close', () => watchers.delete(watcher))
  }

  const serve = (request: IncomingMessage, response: ServerResponse, text: string): void => {
    const url = new URL(request.url ?? '/', 'https://localhost')
    const socket = request.socket as TLSSocket
    const bearer = /^Bearer (.*)$/.exec(request.headers.authorization ?? '')?.[1]
    const user = socket.authorized ? String(socket.getPeerCertificate().subject.CN) : bearer
    const body = (text === '' ? undefined : JSON.parse(text)) as KubeObject & Record<string, never>
    const method = request.method ?? ''
    seen.push({ method, url: request.url ?? '', contentType: request.headers['content-type'], body, user })
    if (!socket.authorized && !(bearer !== undefined && tokens.has(bearer))) {
      return refuse(response, 401, 'Unauthorized', 'Unauthorized')
    }
    const failure = failNext.shift()
    if (failure) {
      const { code, reason, ...details } = failure
      return refuse(response, code, reason, 'as told', details)
    }
    if (answerNext.length > 0) return send(response, 200, answerNext.shift())
    if (url.pathname === '/healthz') return void response.end('ok')
    const { ns, plural, name, sub } = PATH.exec(url.pathname)?.groups ?? {}
    if (plural === undefined) {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('404 page not found\n')
      return
    }
    const collection =
      name === undefined
        ? url.pathname
        : url.pathname
            .split('/')
            .slice(0, sub ? -2 : -1)
            .join('/')
    if (method === 'GET' && name === undefined) {
      if (url.searchParams.get('watch') === 'true') return watch(response, collection, url.searchParams)
      return list(response, collection, 'List', url.searchParams)
    }
    if (method === 'DELETE' && name === undefined) {
      const selector = url.searchParams.get('labelSelector') ?? ''
      for (const [path, object] of objects) {
        if (within(path, collection) && selects(selector, object)) commit('DELETED', path, object)
      }
      return send(response, 200, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' })
    }
    const key = `${collection}/${name ?? body.metadata?.name ?? ''}`
    const old = objects.get(key)
    if (method === 'POST') {
      if (old) return refuse(response, 409, 'AlreadyExists', `${plural} "${body.metadata?.name}" already exists`)
      const metadata = { ...body.metadata, uid: randomUUID(), ...(ns && { namespace: ns }) }
      return send(response, 201, commit('ADDED', key, { ...body, metadata }))
    }
    if (!old) return refuse(response, 404, 'NotFound', `${plural} "${name}" not found`, { name, kind: plural })
    if (method === 'GET') return send(response, 200, old)
    if (method === 'PUT') {
      const expected = body.metadata?.resourceVersion
      if (expected !== undefined && expected !== old.metadata?.resourceVersion) {
        return refuse(response, 409, 'Conflict', `Operation cannot be fulfilled on ${plural} "${name}"`)
      }
      const metadata = { ...old.metadata, ...body.metadata }
      return send(response, 200, commit('MODIFIED', key, { ...body, metadata }))
    }
    if (method === 'PATCH') {
      if (!/merge-patch|apply-patch/.test(request.headers['content-type'] ?? '')) {
        return refuse(response, 415, 'UnsupportedMediaType', 'this server merges only')
      }
      return send(response, 200, commit('MODIFIED', key, applyMergePatch(old, body) as KubeObject))
    }
    const { preconditions } = body as { preconditions?: { uid?: string } }
    if (preconditions?.uid !== undefined && preconditions.uid !== old.metadata?.uid) {
      return refuse(response, 409, 'Conflict', 'the UID in the precondition does not match')
    }
    commit('DELETED', key, old)
    send(response, 200, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' })
  }

  const take = (request: IncomingMessage, response: ServerResponse): void => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => serve(request, response, Buffer.concat(chunks).toString('utf8')))
  }
  const tls = {
    key: certificates.pem('server.key'),
    cert: certificates.pem('server.crt'),
    ca: certificates.pem('ca.crt'),
    requestCert: true,
    rejectUnauthorized: false,
  }
  const server = http2
    ? createSecureServer({ ...tls, allowHTTP1: true, settings: { maxConcurrentStreams: mostStreams } }, (from, to) =>
        take(from as unknown as IncomingMessage, to as unknown as ServerResponse),
      ).on('session', (session) => {
        sessions.add(session)
        session.on('ping', () => pings++)
        session.on('close', () => sessions.delete(session))
      })
    : createServer(tls, take)
  server.on('connection', (socket: Socket) => {
    connections++
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  const each = (act: (response: ServerResponse) => void): void => {
    for (const { response } of watchers) act(response)
  }
  const endEach = (act: (response: ServerResponse) => void): void => {
    each(act)
    watchers.clear()
  }
  return {
    url: `https://127.0.0.1:${port}`,
    seen,
    tokens,
    failNext,
    alsoListed,
    answerNext,
    put: (path, object) => void commit(objects.has(path) ? 'MODIFIED' : 'ADDED', path, object),
    remove: (path) => {
      const old = objects.get(path)
      if (old) commit('DELETED', path, old)
    },
    cutWatches: () =>
      endEach((response) => {
        const stream = streamOf(response)
        if (stream) stream.close(constants.NGHTTP2_INTERNAL_ERROR)
        else response.socket?.destroy()
      }),
    goAway: () => {
      for (const session of sessions) session.goaway()
    },
    connections: () => connections,
    pings: () => pings,
    endWatches: () => endEach((response) => response.end()),
    bookmark: () =>
      each((response) => response.write(line('BOOKMARK', { metadata: { resourceVersion: String(version) } }))),
    writeToWatches: (text) => each((response) => response.write(text)),
    compact: () => {
      compacted = version
      history.length = 0
    },
    watchers: () => watchers.size,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((done) => server.close(done))
    },
  }
}
