// Who asks, and whether they may have what they ask for.
import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { HttpError, urlOf } from './http-error.ts'
import type { Reviews } from './reviews.ts'
import { type Route, routeOf } from './routes.ts'
import { forbiddenText, neededAccess, type User, userOf } from './user.ts'

/** Whom the server trusts, and whom it asks. */
export interface AdmitOptions {
  /** Signs the certificates of clients, PEM; without it no certificate is believed. */
  clientCa?: string | undefined
  /** Users (common names) or groups (organisations) that may ask for all. */
  allowedNames?: readonly string[]
  /** Knows bearer tokens, and what others may. Without it and without `allowedNames`, whom `clientCa` certified may all. */
  reviews?: Reviews
  /** KubeletConfiguration `authentication.anonymous.enabled`: who shows nothing is `system:anonymous`. Default false. */
  anonymous?: boolean
  /** KubeletConfiguration `authorization.mode` `AlwaysAllow`: everybody who is known may all. */
  alwaysAllow?: boolean
  /** KubeletConfiguration `enableDebuggingHandlers`: default true. */
  debugging?: boolean
}

/** How long the API server may take to say who somebody is and what they may, in milliseconds. */
const reviewMs = 10_000

/** Routes that lead into containers, to files of the node or into this process. */
export const debugKinds: ReadonlySet<string> = new Set([
  'run',
  'exec',
  'attach',
  'portForward',
  'containerLogs',
  'logs',
  'pprof',
  'verbosity',
  'runningPods',
])

/** The route of a request whose user may take it. @throws HttpError 401, 403, 404, 405, or 500 when nobody can tell */
export async function admit(request: IncomingMessage, options: AdmitOptions): Promise<Route> {
  const { pathname } = urlOf(request)
  const method = request.method ?? ''
  const user = await authenticate(request, options)
  if (!user) throw new HttpError(401, 'Unauthorized')
  if (!(await mayAsk(user, method, pathname, options))) throw new HttpError(403, forbiddenText(user, method, pathname))
  const route = routeOf(method, pathname)
  if (!route) throw new HttpError(404, '404 page not found')
  if (options.debugging === false && debugKinds.has(route.kind)) {
    throw new HttpError(405, 'Debug endpoints are disabled.')
  }
  return route
}

async function authenticate(
  request: IncomingMessage,
  { clientCa, reviews, anonymous = false }: AdmitOptions,
): Promise<User | undefined> {
  // Without an authority of ours, the machine's own would be believed.
  const certified = clientCa === undefined ? undefined : userOf(request.socket as TLSSocket)
  if (certified) return certified
  const [, token] = /^Bearer\s+(\S+)\s*$/i.exec(request.headers.authorization ?? '') ?? []
  if (token !== undefined) return reviews?.userOf(token, AbortSignal.timeout(reviewMs))
  return anonymous ? { name: 'system:anonymous', groups: ['system:unauthenticated'] } : undefined
}

async function mayAsk(
  user: User,
  method: string,
  path: string,
  { allowedNames, reviews, alwaysAllow = false }: AdmitOptions,
): Promise<boolean> {
  if (alwaysAllow) return true
  if (allowedNames && [user.name, ...user.groups].some((name) => allowedNames.includes(name))) return true
  if (!reviews) return allowedNames === undefined
  const { verb, subresources } = neededAccess(method, path)
  for (const subresource of subresources) {
    if (await reviews.isAllowed(user, verb, subresource, AbortSignal.timeout(reviewMs))) return true
  }
  return false
}
