// The kubelet's HTTPS server: logs, streams and pods for the API server.
import { constants } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { RuntimeService } from '@nodelet/cri-api'
import { silentLogger } from '../log.ts'
import type { Logger } from '../log.ts'
import { HttpError, urlOf } from './http-error.ts'
import { serveLog } from './logs.ts'
import { routeOf } from './routes.ts'
import type { Route } from './routes.ts'
import { serveStats } from './stats.ts'
import { streamingUrl } from './streams.ts'
import { refuse, tunnel } from './tunnel.ts'
import type { UpgradeRequest } from './tunnel.ts'
import { forbiddenText, userOf } from './user.ts'
import type { KubeletView } from './view.ts'

const STREAM_IDLE_MS = 4 * 3_600_000

/** Where the server listens, whom it trusts and whom it asks. Certificates and keys are PEM texts. */
export interface KubeletServerOptions {
  address: string
  /** The kubelet's is 10250; 0 is any free one. */
  port: number
  certificate: string
  key: string
  /** Signs the certificates of clients; others are answered 401. */
  clientCa: string
  node: KubeletView
  runtimeService: RuntimeService
  /** Logs outside are not shown. The kubelet's is `/var/log/pods`. */
  containerLogsRoot: string
  /** Users (common names) or groups (organisations) that may ask. Default: everybody whom `clientCa` certified. */
  allowedNames?: readonly string[]
  log?: Logger
}

/** A listening server. */
export interface KubeletServer {
  readonly port: number
  /** Stops listening and ends all connections. */
  close(): Promise<void>
}

/** Starts the server. @throws Error when the port is taken or a PEM text is not valid */
export async function startKubeletServer(options: KubeletServerOptions): Promise<KubeletServer> {
  const { address, port, certificate, key, clientCa } = options
  const server = createServer({
    cert: certificate,
    key,
    ca: clientCa,
    requestCert: true,
    rejectUnauthorized: false, // they are answered 401
    minVersion: 'TLSv1.2',
    secureOptions: constants.SSL_OP_NO_TICKET, // each connection shows its certificate
  })
  const sockets = new Set<TLSSocket>()
  server.on('secureConnection', (socket: TLSSocket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    socket.on('error', () => {}) // 'close' follows, and whoever serves the connection sees that
  })
  server.on('request', (request, response) => void answer(request, response, options))
  server.on('upgrade', (request, socket, head) => void upgrade({ request, socket, head }, options))
  server.listen(port, address)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: KubeletServerOptions,
): Promise<void> {
  try {
    const route = admit(request, options)
    if (route.kind === 'healthz') return sendText(response, 200, 'ok')
    if (route.kind === 'pods') {
      const list = { kind: 'PodList', apiVersion: 'v1', metadata: {}, items: options.node.pods() }
      response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(list))
      return
    }
    if (route.kind === 'metrics' || route.kind === 'summary')
      return await serveStats(route, request, response, options.node)
    if (route.kind !== 'containerLogs') throw new HttpError(400, 'Upgrade request required')
    await serveLog(route, { request, response }, { node: options.node, root: options.containerLogsRoot })
  } catch (error) {
    if (response.headersSent || response.destroyed) {
      options.log?.debug({ url: request.url, error: messageOf(error) }, 'an answer ended early')
      return void response.destroy()
    }
    const status = report(error, request, options)
    sendText(response, status, messageOf(error))
  }
}

async function upgrade(client: UpgradeRequest, options: KubeletServerOptions): Promise<void> {
  const { request, socket } = client
  try {
    const route = admit(request, options)
    if (route.kind !== 'exec' && route.kind !== 'attach' && route.kind !== 'portForward') {
      throw new HttpError(400, 'this path takes no upgrade')
    }
    const url = await streamingUrl(route, urlOf(request).searchParams, options)
    if (socket.destroyed) return
    ;(request.socket as TLSSocket).setTimeout(STREAM_IDLE_MS, () => socket.destroy())
    tunnel(client, url)
  } catch (error) {
    const status = report(error, request, options)
    if (!socket.destroyed) refuse(socket, status, messageOf(error))
  }
}

/** The route of a request whose user may take it. @throws HttpError 401, 403 or 404 */
function admit(request: IncomingMessage, { allowedNames }: KubeletServerOptions): Route {
  const { pathname } = urlOf(request)
  const method = request.method ?? ''
  const user = userOf(request.socket as TLSSocket)
  if (!user) throw new HttpError(401, 'Unauthorized')
  if (allowedNames && ![user.name, ...user.groups].some((name) => allowedNames.includes(name))) {
    throw new HttpError(403, forbiddenText(user, method, pathname))
  }
  const route = routeOf(method, pathname)
  if (!route) throw new HttpError(404, '404 page not found')
  return route
}

/** Logs what is our own fault, and returns the status. */
function report(error: unknown, request: IncomingMessage, { log = silentLogger }: KubeletServerOptions): number {
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
