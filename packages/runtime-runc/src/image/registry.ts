// One registry: its manifests and blobs over HTTP. @see OCI distribution-spec 1.1
import { CriError } from '@nodelet/cri-api'
import type { AuthConfig } from '@nodelet/cri-api'
import { Agent, EnvHttpProxyAgent, request } from 'undici'
import type { Dispatcher } from 'undici'
import { sha256 } from '../content.ts'
import { createAuthorizer } from './authorization.ts'
import type { TokenRequest } from './authorization.ts'
import { manifestTypes } from './manifest.ts'
import type { Descriptor } from './manifest.ts'
import { nameOf, printReference } from './reference.ts'
import type { Reference } from './reference.ts'
import { isBusy, mayPass, mostAttempts, pause } from './retry.ts'

export interface RegistryOptions {
  auth?: AuthConfig | undefined
  /** Whether this host is spoken to without TLS. Default: the loopback hosts. */
  plainHttp?: ((host: string) => boolean) | undefined
}

/** What a pull needs of a repository. */
export interface Repository extends AsyncDisposable {
  /** The manifest or index that the reference names, checked when a digest was written. */
  resolve(signal: AbortSignal): Promise<{ content: Buffer; digest: string }>
  /** A manifest by its descriptor, checked. */
  manifest(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer>
  /** A blob's bytes, not checked. Goes on where a broken connection ended. */
  blob(descriptor: Descriptor, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>
}

/** Manifests are small; a registry that sends more is wrong or hostile. Bytes, as containerd's limit. */
const largestManifest = 8 * 1024 * 1024
const largestToken = 1024 * 1024
const mostRedirects = 5
/** Time without a byte until a registry counts as gone, in milliseconds. */
const silenceMs = 30_000
const connectMs = 10_000

const isLoopback = (host: string): boolean => /^(localhost|127\.[\d.]+|\[::1\])(:\d+)?$/.test(host)

export function openRepository(reference: Reference, options: RegistryOptions = {}): Repository {
  const { domain, path } = reference
  const host = domain === 'docker.io' ? 'registry-1.docker.io' : domain
  const scheme = (options.plainHttp ?? isLoopback)(host) ? 'http' : 'https'
  const base = new URL(`${scheme}://${host}/v2/${path}/`)
  const limits = { connect: { timeout: connectMs }, headersTimeout: silenceMs, bodyTimeout: silenceMs }
  // The usual environment variables name a proxy; this machine itself is never behind one.
  const dispatcher = isLoopback(host) ? new Agent(limits) : new EnvHttpProxyAgent(limits)
  const what = printReference(reference)
  const resolving = `failed to resolve reference "${what}"`

  const send = async (
    url: URL,
    sent: TokenRequest,
    signal: AbortSignal,
    doing: string,
  ): Promise<Dispatcher.ResponseData> => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const response = await request(url, { ...sent, signal, dispatcher })
        if (attempt === mostAttempts || !isBusy(response.statusCode)) return response
        await response.body.dump()
        await pause(attempt, signal, String(response.headers['retry-after'] ?? ''))
      } catch (cause) {
        signal.throwIfAborted()
        if (attempt === mostAttempts || !mayPass(cause)) {
          const verb = sent.method === 'GET' ? 'Get' : 'Post'
          const reason = `failed to do request: ${verb} "${url.href}": ${reasonOf(cause)}`
          throw new CriError('UNAVAILABLE', `${doing}: ${reason}`, { cause })
        }
        await pause(attempt, signal)
      }
    }
  }

  const authorizer = createAuthorizer({ host: domain, path, what }, options.auth, async (url, sent, signal) => {
    const response = await send(url, sent, signal, resolving)
    if (response.statusCode !== 200) throw await refusal(response, url, resolving)
    return (await bytesOf(response, largestToken, `the token of ${url.origin}`)).toString()
  })

  /** Gets a path, following redirects; the credentials go to the registry alone. */
  const get = async (
    at: string,
    headers: Record<string, string>,
    signal: AbortSignal,
    doing: string,
  ): Promise<Dispatcher.ResponseData> => {
    let url = new URL(at, base)
    let mayLogIn = true
    for (let redirects = 0; redirects <= mostRedirects;) {
      const isOurs = url.origin === base.origin
      const authorization = isOurs ? authorizer.header() : undefined
      const all = { ...headers, ...(authorization !== undefined && { authorization }) }
      const response = await send(url, { method: 'GET', headers: all }, signal, doing)
      const { statusCode } = response
      const location = String(response.headers.location ?? '')
      if (statusCode === 401 && mayLogIn && isOurs) {
        await response.body.dump()
        mayLogIn = false
        await authorizer.logIn([response.headers['www-authenticate'] ?? ''].flat().join(', '), signal)
      } else if (statusCode >= 300 && statusCode < 400 && URL.canParse(location, url.href)) {
        await response.body.dump()
        redirects += 1
        url = new URL(location, url)
      } else if (statusCode === 200 || (statusCode === 206 && headers.range !== undefined)) return response
      else throw await refusal(response, url, doing)
    }
    throw new CriError('UNKNOWN', `${doing}: ${host} redirects more than ${mostRedirects} times`)
  }

  const refusal = async (response: Dispatcher.ResponseData, url: URL, doing: string): Promise<CriError> => {
    const body = (await response.body.text().catch(() => '')).slice(0, 500) // the status says enough
    const { statusCode } = response
    if (statusCode === 404) return new CriError('NOT_FOUND', `${doing}: ${what}: not found`)
    if (statusCode === 401 || statusCode === 403) {
      const advice = 'pull access denied, repository does not exist or may require authorization'
      return new CriError('UNKNOWN', `${doing}: ${advice}: ${url.host} answered ${statusCode}`)
    }
    const answer = `unexpected status from GET request to ${url.href}: ${statusCode} ${body}`.trim()
    return new CriError(isBusy(statusCode) ? 'UNAVAILABLE' : 'UNKNOWN', `${doing}: ${answer}`)
  }

  const fetchManifest = async (
    named: string,
    expected: { digest?: string | undefined; size?: number },
    signal: AbortSignal,
  ): Promise<Buffer> => {
    const response = await get(`manifests/${named}`, { accept: manifestTypes.join(', ') }, signal, resolving)
    const content = await bytesOf(response, largestManifest, `manifest ${named} of ${nameOf(reference)}`)
    const got = sha256(content)
    const isOther = expected.digest !== undefined && got !== expected.digest
    if (isOther || (expected.size !== undefined && expected.size !== content.length)) {
      throw new CriError(
        'UNKNOWN',
        `manifest ${named} of ${nameOf(reference)} is corrupt: ${content.length} bytes came with digest ${got}`,
      )
    }
    return content
  }

  const fetchBlob = async function* ({ digest, size }: Descriptor, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const doing = `failed to copy blob ${digest} of "${what}" from ${host}`
    let done = 0
    for (let failures = 0; ;) {
      const from = done
      const range = from > 0 ? { range: `bytes=${from}-` } : {}
      const response = await get(`blobs/${digest}`, range, signal, doing)
      let known = response.statusCode === 206 ? 0 : from // sent again from the start
      try {
        for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
          const fresh = chunk.subarray(Math.min(known, chunk.length))
          known -= chunk.length - fresh.length
          done += fresh.length
          if (fresh.length > 0) yield fresh
        }
        return // whether it is all of it is checked where it is written
      } catch (cause) {
        signal.throwIfAborted()
        failures = done > from ? 1 : failures + 1
        if (failures === mostAttempts || !mayPass(cause)) {
          throw new CriError('UNAVAILABLE', `${doing}: after ${done} of ${size} bytes: ${reasonOf(cause)}`, { cause })
        }
        await pause(failures, signal)
      }
    }
  }

  return {
    resolve: async (signal) => {
      const { digest } = reference
      const content = await fetchManifest(digest ?? reference.tag ?? 'latest', { digest }, signal)
      return { content, digest: sha256(content) }
    },
    manifest: async ({ digest, size }, signal) => fetchManifest(digest, { digest, size }, signal),
    blob: async (descriptor, signal) => fetchBlob(descriptor, signal),
    [Symbol.asyncDispose]: async () => dispatcher.destroy(),
  }
}

async function bytesOf(response: Dispatcher.ResponseData, limit: number, name: string): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > limit) throw new CriError('UNKNOWN', `${name}: larger than ${limit} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function reasonOf(error: unknown): string {
  const { code, message } = error as { code?: string; message: string }
  return code && !message.includes(code) ? `${code}: ${message}` : message
}
