// HTTP to one API server: a pool of connections that follows its credentials.

import type { Dispatcher, Pool } from 'undici'
import { openConnections } from './connections.ts'
import { credentialSource } from './credentials.ts'
import type { TlsMaterial } from './credentials.ts'
import { ConnectionError, statusErrorOf } from './errors.ts'
import type { KubeConnection } from './connection.ts'
import { rateLimiter } from './rate-limit.ts'
import type { RateLimit, RateLimiter } from './rate-limit.ts'

export type QueryValue = string | number | boolean | undefined

/** One request as it goes out. */
export interface RawRequest {
  /** Default GET. */
  method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Below the server's URL, for instance `/api/v1/nodes/a/proxy/metrics`. */
  path: string
  /** Undefined values are left out. */
  query?: Readonly<Record<string, QueryValue>>
  headers?: Readonly<Record<string, string>>
  body?: string | Uint8Array
  signal?: AbortSignal | undefined
  /** Longest silence, in milliseconds, before and within the answer; default 60000; 0 waits for ever. */
  idleTimeoutMs?: number
}

/** An answer below 400. Read the body to its end, or destroy it, to free the connection. */
export interface RawResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: AsyncIterable<Uint8Array> & { text(): Promise<string>; destroy(error?: Error): unknown }
}

/** What one request came to. */
export interface RequestReport {
  method: string
  /** Of the server, with the port. */
  host: string
  /** Of HTTP; undefined without an answer. */
  status: number | undefined
  /** Until the head of the answer, or until there is none. */
  seconds: number
}

/** Sends requests; each failure is a StatusError, a ConnectionError, a KubeconfigError or the signal's reason. */
export interface Transport {
  send(request: RawRequest): Promise<RawResponse>
  /** Calls back after each request, until it is disposed of. */
  observe(listener: (report: RequestReport) => void): Disposable
  /** The same one, at a bounded rate. */
  limited(limit: RateLimit): Transport
  /** Ends every connection, running requests too. */
  close(): Promise<void>
}

/** The path with its query. */
export const targetOf = (path: string, query: Readonly<Record<string, QueryValue>> = {}): string => {
  const pairs = Object.entries(query).flatMap(([key, value]) => (value === undefined ? [] : [[key, String(value)]]))
  return pairs.length === 0 ? path : `${path}?${new URLSearchParams(pairs).toString()}`
}

/** Names a failure of the transport. */
export const connectionErrorOf = (tried: string, server: string, cause: unknown): ConnectionError => {
  const why = cause instanceof Error ? cause.message || cause.name : String(cause)
  return new ConnectionError(`${tried} at ${server}: ${why} (is the server up, its address and its CA right?)`, {
    cause,
  })
}

/** Opens a transport; nothing is connected before the first request. */
export const openTransport = (connection: KubeConnection): Transport => {
  const url = new URL(connection.server)
  const prefix = url.pathname.replace(/\/+$/, '')
  const source = credentialSource(connection)
  const closing = new AbortController()
  const pools = new Set<Pool>()
  const listeners = new Set<(report: RequestReport) => void>()
  let newest: { pool: Pool; tls: TlsMaterial } | undefined

  const poolFor = (tls: TlsMaterial): Pool => {
    const old = newest
    if (old && old.tls.ca === tls.ca && old.tls.cert === tls.cert && old.tls.key === tls.key) return old.pool
    const pool = openConnections(url.origin, {
      ...tls,
      rejectUnauthorized: connection.insecureSkipTlsVerify !== true,
      ...(connection.tlsServerName && { servername: connection.tlsServerName }),
    })
    pools.add(pool)
    newest = { pool, tls }
    // Requests on the old certificate may finish; a failure to close has nobody who could act on it.
    if (old)
      void old.pool.close().then(
        () => pools.delete(old.pool),
        () => pools.delete(old.pool),
      )
    return pool
  }

  const attempt = async (request: RawRequest, signal: AbortSignal): Promise<Dispatcher.ResponseData> => {
    const { tls, headers } = await source.current()
    signal.throwIfAborted()
    const idle = request.idleTimeoutMs ?? 60_000
    const method = request.method ?? 'GET'
    const from = performance.now()
    const tell = (status?: number): void => {
      const seconds = (performance.now() - from) / 1000
      for (const listener of listeners) listener({ method, host: url.host, status, seconds })
    }
    const answer = poolFor(tls).request({
      method,
      path: targetOf(prefix + request.path, request.query),
      headers: { accept: 'application/json', ...headers, ...request.headers },
      body: request.body ?? null,
      headersTimeout: idle,
      bodyTimeout: idle,
      signal,
    })
    answer.then(
      ({ statusCode }) => tell(statusCode),
      () => tell(),
    )
    return answer
  }

  const transportWith = (mayGo?: RateLimiter): Transport => ({
    async send(request) {
      const tried = `${request.method ?? 'GET'} ${request.path}`
      const signal = request.signal ? AbortSignal.any([request.signal, closing.signal]) : closing.signal
      signal.throwIfAborted()
      await mayGo?.(signal)
      try {
        let answer = await attempt(request, signal)
        if (answer.statusCode === 401 && source.refresh()) {
          await answer.body.dump()
          answer = await attempt(request, signal)
        }
        if (answer.statusCode >= 400) throw statusErrorOf(tried, answer.statusCode, await answer.body.text())
        return { status: answer.statusCode, headers: answer.headers, body: answer.body }
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof Error && ['StatusError', 'KubeconfigError'].includes(error.name)) throw error
        throw connectionErrorOf(tried, connection.server, error)
      }
    },
    observe(listener) {
      listeners.add(listener)
      return { [Symbol.dispose]: () => void listeners.delete(listener) }
    },
    async close() {
      closing.abort(new ConnectionError(`the client of ${connection.server} is closed`))
      await Promise.all([...pools].map((pool) => pool.destroy()))
    },
    limited: (limit) => transportWith(rateLimiter(limit)),
  })
  return transportWith()
}
