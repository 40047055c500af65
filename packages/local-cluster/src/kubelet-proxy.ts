// Requests that a node answers: logs, exec, attach, port-forward, and the node's own paths.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { request } from 'node:https'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Node, Pod } from 'kubernetes-types/core/v1.d.ts'
import { ApiError, badRequest } from './api/errors.ts'

/** What is to be reached on a node. */
export interface ConnectTarget {
  kind: 'pods' | 'nodes'
  namespace?: string
  name: string
  subresource: 'log' | 'exec' | 'attach' | 'portforward' | 'proxy'
  /** What follows `proxy`. */
  path: string
  query: URLSearchParams
  pod?: Pod
}

export interface KubeletProxyOptions {
  nodeOf(name: string): Node | undefined
  /** PEM: who the API server is to kubelets. */
  clientCertificate: string
  clientKey: string
  /** PEM of the CA of kubelets' servers. */
  ca: string
}

export interface KubeletProxy {
  request(target: ConnectTarget, request: IncomingMessage, response: ServerResponse): Promise<void>
  /** Tunnels the upgraded connection byte for byte. */
  upgrade(target: ConnectTarget, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void>
}

const kubeletPort = 10_250
/** Headers that belong to one connection. */
const hops = ['host', 'authorization', 'content-length', 'transfer-encoding', 'keep-alive']
/** HTTP/2 has the request line among the headers. */
const isOfConnection = (header: string): boolean => header.startsWith(':') || hops.includes(header)

export function createKubeletProxy({ nodeOf, clientCertificate, clientKey, ca }: KubeletProxyOptions): KubeletProxy {
  const open = (target: ConnectTarget, incoming: IncomingMessage): ReturnType<typeof request> => {
    const { host, port } = addressOf(target, nodeOf)
    const headers = Object.fromEntries(Object.entries(incoming.headers).filter(([name]) => !isOfConnection(name)))
    const path = kubeletPath(target)
    return request({
      host,
      port,
      path,
      method: incoming.method,
      headers,
      ca,
      cert: clientCertificate,
      key: clientKey,
      agent: false,
    })
  }

  return {
    request: async (target, incoming, response) => {
      if (target.subresource === 'log' && !target.pod?.spec?.nodeName) {
        containerOf(target.pod, target.query.get('container') ?? '')
        response.writeHead(200, { 'content-type': 'text/plain' }).end() // it runs nowhere yet: no lines
        return
      }
      const outgoing = open(target, incoming)
      const answered = Promise.withResolvers<IncomingMessage>()
      outgoing.once('response', answered.resolve).once('error', answered.reject)
      response.once('close', () => outgoing.destroy())
      incoming.pipe(outgoing)
      const answer = await answered.promise.catch((error: Error) => {
        throw unreachable(target, nodeOf, error)
      })
      if (target.subresource === 'log' && (answer.statusCode ?? 500) >= 300) throw await refusalOf(target, answer)
      response.writeHead(answer.statusCode ?? 502, passed(answer))
      response.flushHeaders()
      await pipeline(answer, response).catch(() => response.destroy()) // either side left
    },
    upgrade: async (target, incoming, socket, head) => {
      const outgoing = open(target, incoming)
      const answered = Promise.withResolvers<void>()
      outgoing.once('error', (error: Error) => answered.reject(unreachable(target, nodeOf, error)))
      outgoing.once('response', (answer) => {
        // It was not upgraded: the refusal goes to the client as it is, and ends with the connection.
        const lines = Object.entries(passed(answer)).flatMap(([name, values]) =>
          [values].flat().map((value) => `${name}: ${value}`),
        )
        const head = [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`, ...lines, 'connection: close']
        socket.write(`${head.join('\r\n')}\r\n\r\n`)
        answer.pipe(socket)
        answered.resolve()
      })
      outgoing.once('upgrade', (answer: IncomingMessage, far: Duplex, first: Buffer) => {
        socket.write(`${[`HTTP/1.1 101 Switching Protocols`, ...rawHeaders(answer)].join('\r\n')}\r\n\r\n`)
        if (first.length > 0) socket.write(first)
        if (head.length > 0) far.write(head)
        for (const [from, to] of [
          [far, socket],
          [socket, far],
        ] as const) {
          from.once('error', () => to.destroy())
          from.once('close', () => to.destroy())
          from.pipe(to)
        }
        answered.resolve()
      })
      socket.once('close', () => outgoing.destroy())
      outgoing.end()
      await answered.promise
    },
  }
}

const passed = ({ headers }: IncomingMessage): Record<string, string | string[]> =>
  Object.fromEntries(
    Object.entries(headers).filter(
      (header): header is [string, string | string[]] =>
        header[1] !== undefined && !['connection', 'keep-alive', 'transfer-encoding'].includes(header[0]),
    ),
  )

function rawHeaders({ rawHeaders: raw }: IncomingMessage): string[] {
  return raw.flatMap((name, index) => (index % 2 === 0 ? [`${name}: ${raw[index + 1] ?? ''}`] : []))
}

function addressOf(
  target: ConnectTarget,
  nodeOf: KubeletProxyOptions['nodeOf'],
): { host: string; port: number; node: string } {
  const name = target.kind === 'nodes' ? target.name : (target.pod?.spec?.nodeName ?? '')
  if (name === '') throw badRequest(`pod ${target.name} does not have a host assigned`)
  const node = nodeOf(name)
  // Upstream names the kind of the request, also when the pod's node is what is missing.
  if (!node) throw new ApiError(404, 'NotFound', `${target.kind} "${name}" not found`, { name, kind: target.kind })
  const addresses = node.status?.addresses ?? []
  const host = (addresses.find(({ type }) => type === 'InternalIP') ?? addresses[0])?.address
  if (host === undefined) throw badRequest(`no preferred addresses found; known addresses: []`)
  return { host, port: node.status?.daemonEndpoints?.kubeletEndpoint?.Port || kubeletPort, node: name }
}

const verbs = { exec: 'exec', attach: 'attach' } as const
/** How the API's stream parameters are called by kubelets. */
const streams: readonly (readonly [api: string, kubelet: string])[] = [
  ['stdin', 'input'],
  ['stdout', 'output'],
  ['stderr', 'error'],
  ['tty', 'tty'],
]

/** The kubelet's path and query for a target. */
export function kubeletPath({ kind, namespace, name, subresource, path, query, pod }: ConnectTarget): string {
  const withQuery = (base: string, wanted: URLSearchParams): string =>
    wanted.size > 0 ? `${base}?${wanted.toString()}` : base
  if (kind === 'nodes') return withQuery(`/${path}`, query)
  const rest = new URLSearchParams(query)
  rest.delete('container')
  const where = `${namespace}/${name}`
  if (subresource === 'portforward') return withQuery(`/portForward/${where}`, rest)
  const container = containerOf(pod, query.get('container') ?? '')
  if (subresource === 'log') {
    rest.delete('insecureSkipTLSVerifyBackend')
    return withQuery(`/containerLogs/${where}/${container}`, rest)
  }
  const wanted = new URLSearchParams(query.getAll('command').map((word) => ['command', word]))
  for (const [api, own] of streams) if (['true', '1'].includes(query.get(api) ?? '')) wanted.set(own, '1')
  return withQuery(`/${verbs[subresource as keyof typeof verbs]}/${where}/${container}`, wanted)
}

/** The named container, or the one that is meant. @throws ApiError as upstream words it */
export function containerOf(pod: Pod | undefined, asked: string): string {
  const { containers = [], initContainers = [], ephemeralContainers = [] } = pod?.spec ?? {}
  const names = [...containers, ...initContainers, ...ephemeralContainers].map(({ name }) => name)
  const name = pod?.metadata?.name ?? ''
  if (asked !== '') {
    if (names.includes(asked)) return asked
    throw badRequest(`container ${asked} is not valid for pod ${name}`)
  }
  const annotated = pod?.metadata?.annotations?.['kubectl.kubernetes.io/default-container']
  if (annotated !== undefined && names.includes(annotated)) return annotated
  const [only, ...more] = containers
  if (only && more.length === 0) return only.name
  const inits =
    initContainers.length > 0
      ? ` or one of the init containers: [${initContainers.map((one) => one.name).join(' ')}]`
      : ''
  throw badRequest(
    `a container name must be specified for pod ${name}, choose one of: [${containers.map((one) => one.name).join(' ')}]${inits}`,
  )
}

/** Bytes of a refusal that are shown. */
const longestRefusal = 2048

/** A kubelet's refusal in its own words, as a Status. */
async function refusalOf({ name }: ConnectTarget, answer: IncomingMessage): Promise<ApiError> {
  let text = ''
  for await (const chunk of answer.setEncoding('utf8')) {
    text += String(chunk)
    if (text.length > longestRefusal) break
  }
  text = text.slice(0, longestRefusal).trim()
  const code = answer.statusCode ?? 500
  if (code === 400) return badRequest(text)
  if (code === 404) return new ApiError(404, 'NotFound', text, { name, kind: 'pods/log' })
  return new ApiError(code, 'InternalError', `Internal error occurred: ${text}`)
}

function unreachable(target: ConnectTarget, nodeOf: KubeletProxyOptions['nodeOf'], error: Error): ApiError {
  const { host, port } = addressOf(target, nodeOf)
  const reason =
    (error as NodeJS.ErrnoException).code === 'ECONNREFUSED' ? 'connect: connection refused' : error.message
  const why = `dial tcp ${host}:${port}: ${reason}`
  // Logs are fetched, the others are tunnelled: as the API server words either.
  if (target.subresource !== 'log') return new ApiError(500, '', `error dialing backend: ${why}`)
  return new ApiError(500, '', `Get "https://${host}:${port}${kubeletPath(target)}": ${why}`)
}
