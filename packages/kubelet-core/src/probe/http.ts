// HTTP requests of probes and hooks.
import { Agent, request as plainRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { Agent as TlsAgent, request as tlsRequest } from 'node:https'
import type { Container, HTTPGetAction } from 'kubernetes-types/core/v1.d.ts'
import type { Attempt } from './attempt.ts'
import { dialError } from './dial-error.ts'
import { joinHostPort, resolvePort } from './port.ts'

/** Where a GET goes, and with which headers. */
export interface HttpTarget {
  url: URL
  headers: Readonly<Record<string, string | string[]>>
}

/** A connection of its own for each request. */
const agent = new Agent({ keepAlive: false })
const tlsAgent = new TlsAgent({ keepAlive: false })
const mostRedirects = 10
const longestBody = 10 * 1024
const redirects = new Set([301, 302, 303, 307, 308])

/**
 * The request of an `httpGet` action. Pure.
 * @param userAgent default of the header
 * @throws Error for a port that is not there
 */
export function httpTarget(action: HTTPGetAction, container: Container, podIP: string, userAgent: string): HttpTarget {
  const { scheme = 'HTTP', host, path = '/', httpHeaders = [] } = action
  const address = joinHostPort(host || podIP, resolvePort(action.port, container))
  const url = new URL(`${scheme.toLowerCase()}://${address}`)
  const [, pathname = '', query = ''] = /^([^?#]*)(\?[^#]*)?/.exec(path) ?? []
  url.pathname = pathname
  url.search = query
  const headers: Record<string, string | string[]> = {}
  for (const { name, value } of httpHeaders) {
    const present = headers[name.toLowerCase()]
    headers[name.toLowerCase()] = present === undefined ? value : [present, value].flat()
  }
  headers['user-agent'] ??= userAgent
  headers['accept'] ??= '*/*'
  if (headers['accept'] === '') delete headers['accept']
  return { url, headers }
}

/** GETs; redirects within the host are followed. */
export async function probeHttp(
  { url, headers }: HttpTarget,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
): Promise<Attempt> {
  try {
    return verdict(await follow({ url, headers }, { untilMs: performance.now() + timeoutMs, signal }))
  } catch (error) {
    signal.throwIfAborted()
    const reason =
      error instanceof DeadlineError ? error.message : dialError(error, joinHostPort(hostOf(url), portOf(url)))
    return { status: 'failure', message: `Get "${url.href}": ${reason}` }
  }
}

function verdict({ status, body }: HttpAnswer): Attempt {
  if (status < 200 || status >= 400)
    return { status: 'failure', message: `HTTP probe failed with statuscode: ${status}` }
  if (status < 300) return { status: 'success', message: body }
  return { status: 'warning', message: `Probe terminated redirects, Response body: ${body}` }
}

/** The status and the first 10 KiB of the body. */
export interface HttpAnswer {
  status: number
  body: string
}

class DeadlineError extends Error {
  override readonly message = 'context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
}

/** When a request has to be over. */
interface Bounds {
  /** On the clock of `performance.now()`; default: never. */
  untilMs?: number
  signal: AbortSignal
}

async function follow({ url, headers }: HttpTarget, bounds: Bounds): Promise<HttpAnswer> {
  let at = url
  for (let hop = 0; hop < mostRedirects; hop += 1) {
    const { status, location, body } = await get({ url: at, headers }, bounds)
    const next = redirects.has(status) && location ? new URL(location, at) : undefined
    if (!next || next.hostname !== url.hostname) return { status, body }
    at = next
  }
  throw new Error('stopped after 10 redirects')
}

/** One GET on a connection of its own; certificates are not verified. Rejects with what the socket said. */
export function get(
  { url, headers }: HttpTarget,
  { untilMs, signal }: Bounds,
): Promise<HttpAnswer & { location: string | undefined }> {
  const options = { host: hostOf(url), port: portOf(url), path: url.pathname + url.search, headers }
  // Neither signals of its own nor streams as iterables: they would cost more than the request.
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
      request.destroy()
    }
    const fail = (error: unknown): void => {
      end()
      reject(error as Error)
    }
    const answer = (response: IncomingMessage): void => {
      const done = (body: string): void => {
        end()
        resolve({ status: response.statusCode ?? 0, location: response.headers.location, body })
      }
      readStart(response, done, fail)
    }
    const abort = (): void => fail(signal.reason)
    const timer =
      untilMs === undefined ? undefined : setTimeout(() => fail(new DeadlineError()), untilMs - performance.now())
    const request =
      url.protocol === 'https:'
        ? tlsRequest({ ...options, agent: tlsAgent, rejectUnauthorized: false }, answer)
        : plainRequest({ ...options, agent }, answer)
    request.on('error', fail)
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort)
    request.end()
  })
}

function readStart(response: IncomingMessage, done: (body: string) => void, fail: (error: Error) => void): void {
  const chunks: Buffer[] = []
  let length = 0
  const finish = (): void => done(Buffer.concat(chunks).subarray(0, longestBody).toString('utf8'))
  response.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    length += chunk.length
    if (length >= longestBody) finish()
  })
  response.on('end', finish)
  response.on('error', fail)
}

function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1')
}

function portOf(url: URL): number {
  return Number(url.port) || (url.protocol === 'https:' ? 443 : 80)
}
