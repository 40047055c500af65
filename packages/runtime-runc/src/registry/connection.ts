// One repository of one host: requests with logins, redirects and failures that say what was asked.
import { STATUS_CODES } from 'node:http'
import type { AuthConfig } from '@nodelet/cri-api'
import { request } from 'undici'
import type { Dispatcher } from 'undici'
import { createAuthorizer } from '../image/authorization.ts'
import type { TokenRequest } from '../image/authorization.ts'
import { isBusy, mayPass, retryAfterOf } from '../image/retry.ts'
import { dispatcherFor, isNotTls } from './dispatcher.ts'
import type { TransportLimits } from './dispatcher.ts'
import { RegistryFailure, deniedFailure } from './failure.ts'
import type { RegistryHost } from './host.ts'
import type { TokenCache } from './token-cache.ts'

export interface ConnectionOptions {
  /** The registry that the image's name says. */
  domain: string
  /** Repository below it. */
  path: string
  /** The image, for messages. */
  what: string
  auth: AuthConfig | undefined
  tokens: TokenCache
  limits: TransportLimits
}

export interface Connection extends AsyncDisposable {
  /** Host and port. */
  readonly name: string
  readonly host: RegistryHost
  /**
   * Gets what is below the repository, or a whole address, following redirects. Answers 200, or 206 to a range.
   * @throws RegistryFailure
   */
  get(at: string, headers: Record<string, string>, signal: AbortSignal): Promise<Dispatcher.ResponseData>
}

const mostRedirects = 5
const largestToken = 1024 * 1024
const largestRefusal = 64 * 1024

/** @throws RegistryFailure when the host's certificates are no certificates */
export function connect(host: RegistryHost, options: ConnectionOptions): Connection {
  const { domain, path, what, auth, tokens, limits } = options
  const dispatcher = openDispatcher(host, limits)
  const name = new URL(host.api).host
  let api = host.api
  /** Credentials do not go in the clear where TLS is spoken. */
  const isOurs = (url: URL): boolean => url.host === name && (url.protocol === 'https:' || api.startsWith('http:'))

  const send = async (url: URL, sent: TokenRequest, signal: AbortSignal): Promise<Dispatcher.ResponseData> => {
    try {
      return await request(url, { ...sent, signal, dispatcher })
    } catch (cause) {
      signal.throwIfAborted()
      if (!host.mayBePlain || url.origin !== new URL(host.api).origin || !isNotTls(cause)) {
        throw failedRequest(sent.method, url, cause)
      }
      api = host.api.replace(/^https:/, 'http:')
      return send(new URL(url.href.replace(/^https:/, 'http:')), sent, signal)
    }
  }

  const authorizer = createAuthorizer(
    { host: host.isMirror ? name : domain, isMirror: host.isMirror, api: host.api, path, auth, cache: tokens },
    async (url, sent, signal) => {
      const response = await send(url, sent, signal)
      if (isBusy(response.statusCode)) throw await refusal(response, url, sent.method)
      const body = await textOf(response, largestToken)
      return { status: response.statusCode, body, said: saidBy(response.statusCode, body) }
    },
  )

  const get: Connection['get'] = async (at, headers, signal) => {
    const isWhole = URL.canParse(at)
    let url = new URL(at, `${api}${path}/`)
    if (host.isMirror && !isWhole) url.searchParams.set('ns', domain)
    let mayLogIn = true
    for (let redirects = 0; redirects <= mostRedirects;) {
      const isOwn = !isWhole && isOurs(url)
      const authorization = isOwn ? authorizer.header() : undefined
      // Neither credentials nor headers that were meant for the one host go to another.
      const own = isOwn ? { ...host.headers, ...(authorization !== undefined && { authorization }) } : {}
      const response = await send(
        url,
        { method: 'GET', headers: { ...headers, ...own } as Record<string, string> },
        signal,
      )
      const { statusCode } = response
      const location = String(response.headers.location ?? '')
      if (statusCode === 401 && mayLogIn && isOwn) {
        await response.body.dump()
        mayLogIn = false
        const challenge = [response.headers['www-authenticate'] ?? ''].flat().join(', ')
        await authorizer.logIn(challenge, authorization, signal)
      } else if (statusCode >= 300 && statusCode < 400 && URL.canParse(location, url.href)) {
        await response.body.dump()
        redirects += 1
        url = new URL(location, url)
        if (!/^https?:$/.test(url.protocol)) break
      } else if (statusCode === 200 || (statusCode === 206 && headers.range !== undefined)) return response
      else throw await refusal(response, url, 'GET')
    }
    throw new RegistryFailure('refused', `${name} redirects more than ${mostRedirects} times, or to no web address`)
  }

  const refusal = async (response: Dispatcher.ResponseData, url: URL, method: string): Promise<RegistryFailure> => {
    const { statusCode } = response
    // The status says enough when the rest does not come.
    const said = saidBy(statusCode, await textOf(response, largestRefusal).catch(() => ''))
    if (statusCode === 404) return new RegistryFailure('missing', `${what}: not found: ${url.host} answered ${said}`)
    if (statusCode === 401 || statusCode === 403) return deniedFailure(`${url.host} answered ${said}`)
    const answer = `unexpected status from ${method} request to ${plainAddress(url)}: ${said}`
    const retryAfter = retryAfterOf(String(response.headers['retry-after'] ?? ''))
    return new RegistryFailure('refused', answer, { mayPass: isBusy(statusCode), retryAfter })
  }

  return { name, host, get, [Symbol.asyncDispose]: async () => dispatcher.destroy() }
}

function openDispatcher(host: RegistryHost, limits: TransportLimits): Dispatcher {
  try {
    return dispatcherFor(host, limits)
  } catch (cause) {
    const { message } = cause as Error
    throw new RegistryFailure('refused', `the certificates configured for ${host.api}: ${message}`, { cause })
  }
}

/** Without the query: signed addresses have secrets there. */
const plainAddress = ({ origin, pathname }: URL): string => origin + pathname

function failedRequest(method: string, url: URL, cause: unknown): RegistryFailure {
  const verb = method === 'GET' ? 'Get' : 'Post'
  const text = `failed to do request: ${verb} "${plainAddress(url)}": ${reasonOf(cause)}`
  return new RegistryFailure('unreachable', text, { mayPass: mayPass(cause), cause })
}

/** A network's error, with its code. */
export function reasonOf(error: unknown): string {
  const { code, message, errors } = error as { code?: string; message: string; errors?: Error[] }
  const text = message || (errors ?? []).map((one) => one.message).join(', ')
  return code && !text.includes(code) ? `${code}: ${text}` : text
}

/** `503 Service Unavailable`, with what the body says. */
function saidBy(status: number, body: string): string {
  const answer = `${status} ${STATUS_CODES[status] ?? ''}`.trim()
  return [answer, errorsIn(body)].filter(Boolean).join(': ')
}

function errorsIn(body: string): string {
  try {
    const { errors } = JSON.parse(body) as { errors?: { code?: unknown; message?: unknown }[] }
    const texts = errors?.map(({ code, message }) => [code, message].filter(Boolean).join(': '))
    if (texts?.length) return texts.join(', ').slice(0, 500)
  } catch {
    // Not a registry's own answer; the text may still tell.
  }
  return /^\s*[<{]/.test(body) ? '' : body.trim().slice(0, 200)
}

async function textOf(response: Dispatcher.ResponseData, limit: number): Promise<string> {
  return (await bytesOf(response, limit, 'the answer')).toString()
}

/** @throws RegistryFailure when it is larger */
export async function bytesOf(response: Dispatcher.ResponseData, limit: number, name: string): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > limit) throw new RegistryFailure('refused', `${name} is larger than ${limit} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
