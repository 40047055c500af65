// The API server: HTTPS in, one step on the store, JSON out.
import { once } from 'node:events'
import { createSecureServer } from 'node:http2'
import type { SecureServerOptions } from 'node:http2'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { kindOf } from '../kinds/kinds.ts'
import type { Ranges } from '../kinds/services.ts'
import type { ConnectTarget } from '../kubelet-proxy.ts'
import type { Logger } from '../log.ts'
import type { Store } from '../store.ts'
import { bootstrap } from './bootstrap.ts'
import { startCollector } from './collector.ts'
import { discover } from './discovery.ts'
import { ApiError, noSuchResource } from './errors.ts'
import { createHandler } from './handler.ts'
import { parsePath, verbOf } from './request.ts'
import type { ResourcePath } from './request.ts'
import { createResources } from './resources.ts'
import type { Resources } from './resources.ts'
import type { Identity } from './subresources.ts'
import type { Attributes, UserInfo } from './user.ts'

/** Requests that are tunnelled to a node. */
export interface Connect {
  request(target: ConnectTarget, request: IncomingMessage, response: ServerResponse): Promise<void>
  upgrade(target: ConnectTarget, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void>
}

export interface ApiServerOptions extends Ranges {
  store: Store
  /** PEM. */
  certificate: string
  key: string
  /** PEM of the CA of client certificates; pods get it as `kube-root-ca.crt`. */
  clientCa: string
  address: string
  port: number
  /** Undefined: nobody that is known. */
  authenticate(request: IncomingMessage): Promise<UserInfo | undefined>
  identity: Identity
  connect: Connect
  log?: Logger
}

export interface ApiServer {
  port: number
  resources: Resources
  /** Ends every connection. */
  close(): Promise<void>
}

/** Watches share the connection of their client; what is upgraded, and who knows no HTTP/2, speaks HTTP/1.1. */
const http = {
  allowHTTP1: true,
  ALPNProtocols: ['h2', 'http/1.1'],
  minVersion: 'TLSv1.2',
  requestCert: true,
  rejectUnauthorized: false,
  settings: { maxConcurrentStreams: 1000 },
  // Megabytes: what slow watches may have waiting is bounded for each of them.
  maxSessionMemory: 1024,
  // A node that empties ends a thousand watches at once.
  streamResetBurst: 10_000,
  // Of HTTP/1.1: watches last long.
  requestTimeout: 0,
} satisfies SecureServerOptions & { requestTimeout: number }

/** Paths that tell nothing of the cluster. */
const openPaths = new Set(['/healthz', '/livez', '/readyz', '/version'])

/** @throws Error when the port is taken */
export async function createApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { store, identity, connect, log } = options
  const resources = createResources(store, options)
  const handle = createHandler(store, resources, identity)

  const authorized = async (request: IncomingMessage, attributes: Attributes): Promise<UserInfo> => {
    const user = await options.authenticate(request)
    if (!user) throw new ApiError(401, 'Unauthorized', 'Unauthorized')
    const { allowed, reason } = await identity.authorize(user, attributes)
    if (!allowed) throw refusal(user, attributes, reason)
    return user
  }

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'https://server')
    if (/^\/(healthz|livez|readyz)(\/|$)/.test(url.pathname)) {
      response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' }).end('ok')
      return
    }
    const path = parsePath(url.pathname)
    const found = path ? undefined : discover(url.pathname, request.headers.accept ?? '')
    if (!path) {
      if (!openPaths.has(url.pathname)) await authorized(request, { verb: 'get', group: '', resource: '' })
      if (found) {
        response
          .writeHead(200, { 'content-type': found.type, vary: 'Accept' })
          .end(found.body instanceof Buffer ? found.body : JSON.stringify(found.body))
        return
      }
      if (!isGroupPath(url.pathname)) {
        response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('404 page not found\n')
        return
      }
      throw noSuchResource()
    }
    const isWatch = ['1', 'true'].includes(url.searchParams.get('watch') ?? '')
    const verb = verbOf(request.method ?? 'GET', path, isWatch)
    if (verb === undefined)
      throw new ApiError(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', {})
    const user = await authorized(request, attributesOf(verb, path))
    const target = connectTarget(path, url.searchParams, resources)
    if (target) await connect.request(target, request, response)
    else await handle(request, response, { path, query: url.searchParams, user, verb })
  }

  const refuse = (response: ServerResponse, error: unknown, request: IncomingMessage): void => {
    const known = error instanceof ApiError
    if (!known) log?.error({ err: error, method: request.method, path: request.url }, 'request failed')
    const { status } = known
      ? error
      : new ApiError(500, 'InternalError', `Internal error occurred: ${(error as Error).message}`)
    if (response.headersSent) response.destroy()
    else
      response.writeHead(status.code ?? 500, { 'content-type': 'application/json' }).end(`${JSON.stringify(status)}\n`)
  }

  const server = createSecureServer(
    { ...http, cert: options.certificate, key: options.key, ca: options.clientCa },
    // Node's two kinds of requests, and of answers, are used alike; that their types differ is history.
    (from, to) => {
      const [request, response] = [from as unknown as IncomingMessage, to as unknown as ServerResponse]
      answer(request, response).catch((error: unknown) => refuse(response, error, request))
    },
  )
  // All of them: those whose handshake is not over are no connections of HTTP yet, and would be waited for.
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    upgrade(request, socket, head).catch((error: unknown) => {
      const { status } =
        error instanceof ApiError ? error : new ApiError(500, 'InternalError', (error as Error).message)
      const body = JSON.stringify(status)
      socket.end(
        `HTTP/1.1 ${status.code} Refused\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      )
    })
  })
  const upgrade = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    socket.on('error', () => socket.destroy())
    const url = new URL(request.url ?? '/', 'https://server')
    const path = parsePath(url.pathname)
    if (!path) throw noSuchResource()
    await authorized(request, attributesOf(request.method === 'POST' ? 'create' : 'get', path))
    const target = connectTarget(path, url.searchParams, resources)
    if (!target) throw new ApiError(400, 'BadRequest', 'this path can not be upgraded')
    await connect.upgrade(target, request, socket, head)
  }

  await listen(server, options.port, options.address)
  const { port } = server.address() as AddressInfo
  using started = new DisposableStack()
  started.defer(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  started.use(
    bootstrap(store, resources, {
      ca: options.clientCa,
      serviceCidr: options.serviceCidr,
      port,
      address: options.address,
    }),
  )
  started.use(startCollector(store, resources))
  const running = started.move()
  return {
    port,
    resources,
    close: async () => {
      const closed = once(server, 'close')
      running.dispose()
      await closed
    },
  }
}

async function listen(server: ReturnType<typeof createSecureServer>, port: number, address: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen(port, address, resolve)
  try {
    await promise
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw cause
    throw new Error(
      `the API server can't have ${address}:${port}: another program listens there (ss -ltnp tells which): end it, or choose another port with --api-port`,
      { cause },
    )
  } finally {
    server.removeListener('error', reject)
  }
}

const isGroupPath = (path: string): boolean =>
  discover(
    path
      .split('/')
      .slice(0, path.startsWith('/apis/') ? 4 : 3)
      .join('/'),
    '',
  ) !== undefined

const attributesOf = (verb: string, { kind, namespace, name, subresource }: ResourcePath): Attributes => ({
  verb,
  group: kind.group,
  resource: kind.resource,
  ...(subresource !== undefined && { subresource }),
  ...(namespace !== undefined && { namespace }),
  ...(name !== undefined && { name }),
})

/** As RBAC words it. */
function refusal(
  user: UserInfo,
  { verb, group, resource, subresource, namespace, name }: Attributes,
  reason = '',
): ApiError {
  const what = subresource ? `${resource}/${subresource}` : resource
  const where = namespace === undefined ? 'at the cluster scope' : `in the namespace "${namespace}"`
  const object = `${resource}${group ? `.${group}` : ''}${name === undefined ? '' : ` "${name}"`}`
  const text = `${object} is forbidden: User "${user.name}" cannot ${verb} resource "${what}" in API group "${group}" ${where}${reason && `: ${reason}`}`
  return new ApiError(403, 'Forbidden', text, {
    ...(name !== undefined && { name }),
    ...(group && { group }),
    kind: resource,
  })
}

const tunnelled: Readonly<Record<string, readonly string[]>> = {
  pods: ['log', 'exec', 'attach', 'portforward'],
  nodes: ['proxy'],
}

function connectTarget(path: ResourcePath, query: URLSearchParams, resources: Resources): ConnectTarget | undefined {
  const { kind, namespace, name, subresource, rest } = path
  if (name === undefined || subresource === undefined || !tunnelled[kind.resource]?.includes(subresource))
    return undefined
  const base = { name, subresource: subresource as ConnectTarget['subresource'], path: rest, query }
  if (kind.resource === 'nodes') return { kind: 'nodes', ...base }
  const pod = resources.get({ kind: kindOf('pods'), namespace, name }) as unknown as Pod
  return { kind: 'pods', ...base, ...(namespace !== undefined && { namespace }), pod }
}
