// The kubelet's HTTPS server: logs, streams, pods and measurements, for the API server and whoever else may.
import { constants } from 'node:crypto'
import { type EventEmitter, once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import type { RuntimeService } from '@nodelet/cri-api'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Serving } from '../certificate/serving.ts'
import { silentLogger } from '../log.ts'
import type { Logger } from '../log.ts'
import { HttpError, urlOf } from './http-error.ts'
import { serveLog } from './logs.ts'
import { routeOf } from './routes.ts'
import type { Route } from './routes.ts'
import { opensslCiphers } from './ciphers.ts'
import { type RequestLabels, requestLabels } from './measure.ts'
import { runCommand, takeCheckpoint } from './debug.ts'
import { sendHealth } from './health.ts'
import type { Reviews } from './reviews.ts'
import { serveSystemLog } from './system-logs.ts'
import { serveStats } from './stats.ts'
import { streamingUrl } from './streams.ts'
import { statusText } from './statusz.ts'
import { refuse, tunnel } from './tunnel.ts'
import type { UpgradeRequest } from './tunnel.ts'
import { forbiddenText, neededAccess, type User, userOf } from './user.ts'
import type { KubeletView } from './view.ts'

const STREAM_IDLE_MS = 4 * 3_600_000

/** Where the server listens, whom it trusts and whom it asks. Certificates and keys are PEM texts. */
export interface KubeletServerOptions {
  address: string
  /** The kubelet's is 10250; 0 is any free one. */
  port: number
  certificate: string
  key: string
  /** Signs the certificates of clients; without it no certificate is believed. */
  clientCa?: string | undefined
  node: KubeletView
  runtimeService: RuntimeService
  /** Logs outside are not shown. The kubelet's is `/var/log/pods`. */
  containerLogsRoot: string
  /** KubeletConfiguration `tlsMinVersion`; default `VersionTLS12`. */
  tlsMinVersion?: string | undefined
  /** KubeletConfiguration `tlsCipherSuites`, of TLS 1.2; empty: those that Node takes by default. */
  tlsCipherSuites?: readonly string[] | undefined
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
  /** Where `/logs/` looks; default `/var/log`, '' for nowhere. */
  systemLogs?: string
  /** KubeletConfiguration `streamingConnectionIdleTimeout`, in milliseconds; default 4 h. */
  streamIdleMs?: number
  /** A request has begun; what it answers is called at the end of the request. */
  measure?: (labels: RequestLabels) => () => void
  log?: Logger
}

/** A listening server. */
export interface KubeletServer {
  readonly port: number
  /** Connections from now on see and need these. */
  renew(serving: Serving): void
  /** Stops listening and ends all connections. */
  close(): Promise<void>
}

/** Starts the server. @throws Error when the port is taken or a PEM text is not valid */
export async function startKubeletServer(options: KubeletServerOptions): Promise<KubeletServer> {
  const { address, port } = options
  const secure = ({ certificate, key, clientCa }: Serving): SecureContextOptions => ({
    cert: certificate,
    key,
    // Without an authority of clients nobody is believed; not those that browsers trust.
    ca: clientCa ?? [],
    ciphers: opensslCiphers(options.tlsCipherSuites ?? []),
    minVersion: options.tlsMinVersion === 'VersionTLS13' ? 'TLSv1.3' : 'TLSv1.2',
    secureOptions: constants.SSL_OP_NO_TICKET, // each connection shows its certificate
  })
  const server = createServer({
    ...secure(options),
    requestCert: true,
    rejectUnauthorized: false, // they are answered 401
  })
  const sockets = new Set<TLSSocket>()
  server.on('secureConnection', (socket: TLSSocket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    socket.on('error', () => {}) // 'close' follows, and whoever serves the connection sees that
  })
  server.on('request', (request, response) => {
    measureRequest(request, response, options, 'readwrite')
    void answer(request, response, options, async () => admit(request, options))
  })
  server.on('upgrade', (request, socket, head) => {
    measureRequest(request, socket, options, 'readwrite')
    void upgrade({ request, socket, head }, options)
  })
  server.listen(port, address)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    renew: (serving) => server.setSecureContext(secure(serving)),
    close: async () => {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

export function measureRequest(
  request: IncomingMessage,
  until: EventEmitter,
  { measure }: Pick<KubeletServerOptions, 'measure'>,
  server: RequestLabels['server_type'],
): void {
  // What is no URL is refused later.
  const path = URL.parse(request.url ?? '', 'http://kubelet')?.pathname ?? ''
  const ended = measure?.(requestLabels(request.method ?? '', path, server))
  if (ended) until.once('close', ended)
}

/** What answers need that are no streams. */
export type AnswerOptions = Pick<
  KubeletServerOptions,
  'node' | 'runtimeService' | 'containerLogsRoot' | 'systemLogs' | 'log'
>

/** @param routeFor throws an HttpError for what this client may not have */
export async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: AnswerOptions,
  routeFor: (request: IncomingMessage) => Route | Promise<Route>,
): Promise<void> {
  try {
    await serve(await routeFor(request), request, response, options)
  } catch (error) {
    if (response.headersSent || response.destroyed) {
      options.log?.debug({ url: request.url, error: messageOf(error) }, 'an answer ended early')
      return void response.destroy()
    }
    const status = report(error, request, options)
    sendText(response, status, messageOf(error))
  }
}

async function serve(
  route: Route,
  request: IncomingMessage,
  response: ServerResponse,
  options: AnswerOptions,
): Promise<void> {
  const { node } = options
  const query = urlOf(request).searchParams
  const left = new AbortController()
  response.once('close', () => left.abort(new Error('the client has left')))
  switch (route.kind) {
    case 'healthz':
      return sendHealth(response, urlOf(request), node.health?.() ?? [])
    case 'pods':
      return sendPods(response, node.pods())
    case 'runningPods':
      if (!node.runningPods) throw new HttpError(404, '404 page not found')
      return sendPods(response, await node.runningPods(left.signal))
    case 'configz':
      return sendJson(response, { kubeletconfig: node.configz?.() ?? {} })
    case 'statusz':
      return sendText(response, 200, statusText())
    case 'metrics':
    case 'summary':
      return serveStats(route, request, response, node)
    case 'logs':
      if (options.systemLogs === '') throw new HttpError(405, 'logs endpoint is disabled.')
      return serveSystemLog(response, options.systemLogs ?? '/var/log', route.path)
    case 'run':
      return sendText(response, 200, await runCommand(route, query, options, left.signal))
    case 'checkpoint':
      return sendJson(response, await takeCheckpoint(route, query, node, left.signal))
    case 'containerLogs':
      return serveLog(route, { request, response }, { node, root: options.containerLogsRoot })
    default:
      throw new HttpError(400, 'Upgrade request required')
  }
}

const sendPods = (response: ServerResponse, items: readonly Pod[]): void =>
  sendJson(response, { kind: 'PodList', apiVersion: 'v1', metadata: {}, items })

function sendJson(response: ServerResponse, body: object): void {
  response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
}

async function upgrade(client: UpgradeRequest, options: KubeletServerOptions): Promise<void> {
  const { request, socket } = client
  try {
    const route = await admit(request, options)
    if (route.kind !== 'exec' && route.kind !== 'attach' && route.kind !== 'portForward') {
      throw new HttpError(400, 'this path takes no upgrade')
    }
    const url = await streamingUrl(route, urlOf(request).searchParams, options)
    if (socket.destroyed) return
    ;(request.socket as TLSSocket).setTimeout(options.streamIdleMs ?? STREAM_IDLE_MS, () => socket.destroy())
    tunnel(client, url)
  } catch (error) {
    const status = report(error, request, options)
    if (!socket.destroyed) refuse(socket, status, messageOf(error))
  }
}

/** How long the API server may take to say who somebody is and what they may, in milliseconds. */
const reviewMs = 10_000

/** Routes that lead into containers or to files of the node. */
export const debugKinds: ReadonlySet<string> = new Set([
  'run',
  'exec',
  'attach',
  'portForward',
  'containerLogs',
  'logs',
  'runningPods',
])

/** The route of a request whose user may take it. @throws HttpError 401, 403, 404, 405, or 500 when nobody can tell */
async function admit(request: IncomingMessage, options: KubeletServerOptions): Promise<Route> {
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
  { clientCa, reviews, anonymous = false }: KubeletServerOptions,
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
  { allowedNames, reviews, alwaysAllow = false }: KubeletServerOptions,
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

/** Logs what is our own fault, and returns the status. */
function report(error: unknown, request: IncomingMessage, { log = silentLogger }: AnswerOptions): number {
  const status = error instanceof HttpError ? error.status : 500
  const fields = { method: request.method, url: request.url, status, error: messageOf(error) }
  if (status >= 500) log.warn(fields, 'a request failed')
  else log.debug(fields, 'a request was refused')
  return status
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

function sendText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' }).end(text)
}
