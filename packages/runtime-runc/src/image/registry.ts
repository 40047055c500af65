// One registry: its manifests and blobs over HTTP. @see OCI distribution-spec 1.1
import { CriError } from '@nodelet/cri-api'
import type { AuthConfig } from '@nodelet/cri-api'
import { Agent, request } from 'undici'
import type { Dispatcher } from 'undici'
import { sha256 } from '../content.ts'
import { basicHeader, loginOf, parseChallenge } from './credentials.ts'
import { manifestTypes } from './manifest.ts'
import type { Descriptor } from './manifest.ts'
import { nameOf, printReference } from './reference.ts'
import type { Reference } from './reference.ts'

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
  /** A blob's bytes, not checked. */
  blob(descriptor: Descriptor, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>
}

/** Manifests are small; a registry that sends more is wrong or hostile. Bytes, as containerd's limit. */
const largestManifest = 8 * 1024 * 1024
const mostRedirects = 5
/** Default time without a byte until a registry counts as gone, in milliseconds. */
const silenceMs = 30_000
const connectMs = 10_000

const isLoopback = (host: string): boolean => /^(localhost|127\.[\d.]+|\[::1\])(:\d+)?$/.test(host)

export function openRepository(reference: Reference, options: RegistryOptions = {}): Repository {
  const { domain, path } = reference
  const host = domain === 'docker.io' ? 'registry-1.docker.io' : domain
  const plain = (options.plainHttp ?? isLoopback)(host)
  const base = new URL(`${plain ? 'http' : 'https'}://${host}/v2/${path}/`)
  const agent = new Agent({ connect: { timeout: connectMs }, headersTimeout: silenceMs, bodyTimeout: silenceMs })
  const login = loginOf(options.auth)
  let authorization = options.auth?.registryToken ? `Bearer ${options.auth.registryToken}` : undefined
  const what = printReference(reference)

  /** Gets a path, following redirects; the credentials go to the registry alone. */
  const get = async (at: string, accept: readonly string[], signal: AbortSignal): Promise<Dispatcher.ResponseData> => {
    let url = new URL(at, base)
    let mayLogIn = true
    for (let redirects = 0; redirects <= mostRedirects;) {
      const sent = url.host === base.host && authorization ? { authorization } : {}
      const response = await send(url, { accept: accept.join(', '), ...sent }, signal)
      const { statusCode, headers } = response
      const location = String(headers.location ?? '')
      if (statusCode === 401 && mayLogIn && url.host === base.host) {
        await response.body.dump()
        mayLogIn = false
        authorization = await logIn(String(headers['www-authenticate'] ?? ''), signal)
      } else if (statusCode >= 300 && statusCode < 400 && URL.canParse(location, url.href)) {
        await response.body.dump()
        redirects += 1
        url = new URL(location, url)
      } else if (statusCode === 200) return response
      else throw await refusal(response, url)
    }
    throw new CriError('UNKNOWN', `${what}: ${host} redirects more than ${mostRedirects} times`)
  }

  const send = async (
    url: URL,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Dispatcher.ResponseData> => {
    try {
      return await request(url, { headers, signal, dispatcher: agent })
    } catch (cause) {
      signal.throwIfAborted()
      throw new CriError(
        'UNAVAILABLE',
        `failed to resolve reference "${what}": failed to do request: Get "${url.href}": ${reasonOf(cause)}`,
        { cause },
      )
    }
  }

  const logIn = async (header: string, signal: AbortSignal): Promise<string> => {
    const challenge = parseChallenge(header, host)
    if (challenge.scheme === 'basic') {
      if (login) return basicHeader(login)
      throw new CriError('UNAUTHENTICATED', `${what}: ${host} wants a user and a password: give an image pull secret`)
    }
    const url = new URL(challenge.realm)
    if (challenge.service) url.searchParams.set('service', challenge.service)
    url.searchParams.set('scope', challenge.scope ?? `repository:${path}:pull`)
    const response = await send(url, login ? { authorization: basicHeader(login) } : {}, signal)
    if (response.statusCode !== 200) throw await refusal(response, url)
    const answer = (await response.body.json()) as { token?: unknown; access_token?: unknown }
    const token = answer.token ?? answer.access_token
    if (typeof token !== 'string') throw new CriError('UNAUTHENTICATED', `${url.origin} answered without a token`)
    return `Bearer ${token}`
  }

  const refusal = async (response: Dispatcher.ResponseData, url: URL): Promise<CriError> => {
    const body = (await response.body.text().catch(() => '')).slice(0, 500)
    const { statusCode } = response
    const start = `failed to resolve reference "${what}"`
    if (statusCode === 404) return new CriError('NOT_FOUND', `${start}: ${what}: not found`)
    if (statusCode === 401 || statusCode === 403) {
      const advice = 'pull access denied, repository does not exist or may require authorization'
      return new CriError('UNKNOWN', `${start}: ${advice}: ${url.host} answered ${statusCode}`)
    }
    const code = statusCode >= 500 || statusCode === 429 ? 'UNAVAILABLE' : 'UNKNOWN'
    return new CriError(
      code,
      `${start}: unexpected status from GET request to ${url.href}: ${statusCode} ${body}`.trim(),
    )
  }

  const small = async (response: Dispatcher.ResponseData, name: string): Promise<Buffer> => {
    const chunks: Uint8Array[] = []
    let size = 0
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      size += chunk.length
      if (size > largestManifest) throw new CriError('UNKNOWN', `${name}: larger than ${largestManifest} bytes`)
      chunks.push(chunk)
    }
    return Buffer.concat(chunks)
  }

  const fetchManifest = async (named: string, digest: string | undefined, signal: AbortSignal): Promise<Buffer> => {
    const content = await small(await get(`manifests/${named}`, manifestTypes, signal), what)
    const got = sha256(content)
    if (digest !== undefined && got !== digest) {
      throw new CriError(
        'UNKNOWN',
        `manifest ${digest} of ${nameOf(reference)} is corrupt: its content has digest ${got}`,
      )
    }
    return content
  }

  return {
    resolve: async (signal) => {
      const content = await fetchManifest(reference.digest ?? reference.tag ?? 'latest', reference.digest, signal)
      return { content, digest: sha256(content) }
    },
    manifest: async ({ digest }, signal) => fetchManifest(digest, digest, signal),
    blob: async ({ digest }, signal) => (await get(`blobs/${digest}`, ['*/*'], signal)).body,
    [Symbol.asyncDispose]: async () => agent.destroy(),
  }
}

function reasonOf(error: unknown): string {
  const { code, message } = error as { code?: string; message: string }
  return code && !message.includes(code) ? `${code}: ${message}` : message
}
