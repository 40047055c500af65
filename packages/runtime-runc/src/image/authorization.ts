// Logging in to one repository of one host. @see distribution's token authentication
import type { AuthConfig } from '@nodelet/cri-api'
import { z } from 'zod'
import { deniedFailure } from '../registry/failure.ts'
import type { TokenCache } from '../registry/token-cache.ts'
import { authFor, basicHeader, fingerprint, loginOf, parseChallenge } from './credentials.ts'
import type { Challenge } from './credentials.ts'

/** A request to a token server, with its answer. */
export type Exchange = (
  url: URL,
  request: TokenRequest,
  signal: AbortSignal,
) => Promise<{ status: number; body: string; said: string }>

export interface TokenRequest {
  method: 'GET' | 'POST'
  headers: Record<string, string>
  body?: string
}

export interface Authorizer {
  /** The `authorization` header as far as it is known. */
  header(): string | undefined
  /**
   * Does what a 401's `WWW-Authenticate` asks for, unless that has been done since `sent` went out.
   * @throws RegistryFailure when it can't be done
   */
  logIn(challenge: string, sent: string | undefined, signal: AbortSignal): Promise<void>
}

const clientId = 'nodelet'
/** What a server means that says nothing, in seconds; also the least that is believed. */
const defaultLifeSeconds = 60
const word = z.string().min(1).optional()
const answerSchema = z.object({ token: word, access_token: word, expires_in: z.number().optional() })

export interface AuthorizerOptions {
  /** Host and port as credentials name it. */
  host: string
  isMirror: boolean
  /** Root of the host's API. */
  api: string
  /** The repository. */
  path: string
  auth: AuthConfig | undefined
  cache: TokenCache
}

export function createAuthorizer(options: AuthorizerOptions, exchange: Exchange): Authorizer {
  const { host, path, cache } = options
  const auth = authFor(options.auth, options)
  const login = loginOf(auth)
  const key = JSON.stringify([options.api, `repository:${path}:pull`, fingerprint(auth)])
  let given = auth?.registryToken ? `Bearer ${auth.registryToken}` : undefined
  let running: Promise<void> | undefined
  /** Whether the token was asked for here, and is not another pull's. */
  let isOwn = false

  const header = (): string | undefined => given ?? cache.get(key)

  const logIn = async (text: string, sent: string | undefined, signal: AbortSignal): Promise<void> => {
    const challenge = parseChallenge(text)
    if (!challenge)
      throw deniedFailure(`${host} asks for credentials in a way not understood: ${text || 'it names none'}`)
    if (challenge.scheme === 'basic') {
      if (!login) throw deniedFailure(`${host} wants a user and a password: give an image pull secret`)
      if (sent === basicHeader(login)) throw deniedFailure(`${host} does not accept the user and the password`)
      given = basicHeader(login)
      return
    }
    // Another token for the same user would say the same; but one of a former pull may be older than the user's rights.
    if (sent !== undefined && isOwn && challenge.error === 'insufficient_scope') {
      throw deniedFailure(
        `${host}: insufficient_scope: ${login ? 'the user' : 'who gives no image pull secret'} may not`,
      )
    }
    const { token, life } = await tokenFor(challenge, signal)
    given = undefined
    isOwn = true
    cache.set(key, `Bearer ${token}`, Date.now() + life * 1000)
  }

  const tokenFor = async (
    challenge: Challenge & { scheme: 'bearer' },
    signal: AbortSignal,
  ): Promise<{ token: string; life: number }> => {
    const scopes = challenge.scopes.length > 0 ? challenge.scopes : [`repository:${path}:pull`]
    const asked = { ...challenge, scopes }
    const url = new URL(challenge.realm)
    const refresh = auth?.identityToken
    const [first, other] = refresh
      ? [post(url, asked, { grant_type: 'refresh_token', refresh_token: refresh }), login && get(url, asked, login)]
      : [get(url, asked, login), login && post(url, asked, { grant_type: 'password', ...login })]
    let answer = await exchange(...first, signal)
    // A server that knows only the one way says so; what an identity token may not, a password may.
    const isOther = answer.status === 404 || answer.status === 405 || (answer.status === 401 && refresh)
    if (isOther && other) answer = await exchange(...other, signal)
    if (answer.status !== 200) throw deniedFailure(`token server ${url.origin} answered ${answer.said}`)
    return parseToken(answer.body, url)
  }

  return {
    header,
    logIn: async (challenge, sent, signal) => {
      if (running) return running // with what it got the request is sent again
      const known = header()
      if (known !== undefined && sent !== known) return // another request has got it meanwhile
      running = logIn(challenge, sent, signal)
      try {
        await running
      } finally {
        running = undefined
      }
    },
  }
}

interface Asked {
  service?: string
  scopes: readonly string[]
}

function get(
  realm: URL,
  { service, scopes }: Asked,
  login: { username: string; password: string } | undefined,
): [URL, TokenRequest] {
  const url = new URL(realm)
  if (service) url.searchParams.set('service', service)
  for (const scope of scopes) url.searchParams.append('scope', scope)
  if (login) url.searchParams.set('account', login.username)
  return [url, { method: 'GET', headers: login ? { authorization: basicHeader(login) } : {} }]
}

function post(url: URL, { service, scopes }: Asked, grant: Record<string, string>): [URL, TokenRequest] {
  const fields = { ...(service && { service }), client_id: clientId, scope: scopes.join(' '), ...grant }
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  return [url, { method: 'POST', headers, body: new URLSearchParams(fields).toString() }]
}

function parseToken(text: string, url: URL): { token: string; life: number } {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    value = undefined // told below
  }
  const { data } = answerSchema.safeParse(value)
  const token = data?.token ?? data?.access_token
  if (token === undefined) throw deniedFailure(`token server ${url.origin} answered without a token`)
  return { token, life: Math.max(data?.expires_in ?? 0, defaultLifeSeconds) }
}
