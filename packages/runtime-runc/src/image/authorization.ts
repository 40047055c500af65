// Logging in to one repository. @see distribution's token authentication
import { CriError } from '@nodelet/cri-api'
import type { AuthConfig } from '@nodelet/cri-api'
import { z } from 'zod'
import { basicHeader, isForHost, loginOf, parseChallenge } from './credentials.ts'
import type { Challenge } from './credentials.ts'

/** A request to a token server, with its answer as text. */
export type Exchange = (url: URL, request: TokenRequest, signal: AbortSignal) => Promise<string>

export interface TokenRequest {
  method: 'GET' | 'POST'
  headers: Record<string, string>
  body?: string
}

export interface Authorizer {
  /** The `authorization` header as far as it is known. */
  header(): string | undefined
  /** Does what a 401's `WWW-Authenticate` asks for. @throws CriError UNAUTHENTICATED when that is not possible */
  logIn(challenge: string, signal: AbortSignal): Promise<void>
}

const clientId = 'nodelet'
const word = z.string().min(1).optional()
const answerSchema = z.object({ token: word, access_token: word })

/** @param host registry as its name says, for instance `docker.io` */
export function createAuthorizer(
  { host, path, what }: { host: string; path: string; what: string },
  given: AuthConfig | undefined,
  exchange: Exchange,
): Authorizer {
  // Credentials that name another registry are that one's alone.
  const auth = given && isForHost(given, host) ? given : undefined
  const login = loginOf(auth)
  let header = auth?.registryToken ? `Bearer ${auth.registryToken}` : undefined

  const tokenRequest = ({ realm, service, scope }: Challenge & { scheme: 'bearer' }): [URL, TokenRequest] => {
    const url = new URL(realm)
    const fields = new URLSearchParams()
    if (service) fields.set('service', service)
    fields.set('scope', scope ?? `repository:${path}:pull`)
    if (auth?.identityToken) {
      fields.set('grant_type', 'refresh_token')
      fields.set('client_id', clientId)
      fields.set('refresh_token', auth.identityToken)
      const headers = { 'content-type': 'application/x-www-form-urlencoded' }
      return [url, { method: 'POST', headers, body: fields.toString() }]
    }
    if (login) fields.set('account', login.username)
    for (const [key, value] of fields) url.searchParams.set(key, value)
    return [url, { method: 'GET', headers: login ? { authorization: basicHeader(login) } : {} }]
  }

  return {
    header: () => header,
    logIn: async (text, signal) => {
      const challenge = parseChallenge(text, host)
      if (challenge.scheme === 'basic') {
        if (!login) {
          throw new CriError(
            'UNAUTHENTICATED',
            `${what}: ${host} wants a user and a password: give an image pull secret`,
          )
        }
        header = basicHeader(login)
        return
      }
      const [url, request] = tokenRequest(challenge)
      header = `Bearer ${parseToken(await exchange(url, request, signal), url)}`
    },
  }
}

function parseToken(text: string, url: URL): string {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    value = undefined // told below
  }
  const parsed = answerSchema.safeParse(value)
  const token = parsed.data?.token ?? parsed.data?.access_token
  if (token === undefined) throw new CriError('UNAUTHENTICATED', `${url.origin} answered without a token`)
  return token
}
