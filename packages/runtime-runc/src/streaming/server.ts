// The streaming server: one HTTP door for commands in containers and forwarded ports.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { AttachRequest, ExecRequest, PortForwardRequest } from '@nodelet/cri-api'
import { createWebSocketStream, WebSocketServer } from 'ws'
import type { WebSocket } from 'ws'
import type { CommandRequest } from './command.ts'
import { portForwardProtocol, servePortForward } from './port-forward.ts'
import { serveSpdyCommand, spdyCommandProtocols } from './spdy-command.ts'
import { createTokens } from './tokens.ts'
import type { Tokens } from './tokens.ts'
import type { StreamAdapters } from './types.ts'
import { acceptSpdy, chooseUpgrade, refuse } from './upgrade.ts'
import type { Offer } from './upgrade.ts'
import { validateCommand, validateSandbox } from './validate.ts'
import { serveWebSocketCommand } from './websocket-command.ts'
import { webSocketCommandProtocols } from './websocket-messages.ts'
import { serveWebSocketPortForward, webSocketPortForwardProtocols } from './websocket-port-forward.ts'

const CREATION_TIMEOUT_MS = 30_000
const MAX_MESSAGE = 32 << 20

/** Where the server listens and what does its work. Times in milliseconds. */
export interface StreamingOptions extends StreamAdapters {
  /** Default: 127.0.0.1. Whoever reaches it needs a token and nothing else. */
  address?: string
  /** Default: 0, any free one. */
  port?: number
  /** A connection without any byte for so long is closed. Default: 4 hours. */
  idleTimeoutMs?: number
  /** How long a URL may wait for its client. Default: one minute. */
  tokenTtlMs?: number
  /** How often a client is pinged while its input is held back, to see whether it is still there. Default: 5 s. */
  probeMs?: number
}

/** Makes URLs for CRI's Exec, Attach and PortForward; each works once. Disposing ends all streams. */
export interface Streaming extends AsyncDisposable {
  /** @throws CriError INVALID_ARGUMENT or RESOURCE_EXHAUSTED */
  exec(request: ExecRequest): string
  /** @throws CriError INVALID_ARGUMENT or RESOURCE_EXHAUSTED */
  attach(request: AttachRequest): string
  /** @throws CriError INVALID_ARGUMENT or RESOURCE_EXHAUSTED */
  portForward(request: PortForwardRequest): string
}

type Asked = CommandRequest | { kind: 'portforward'; sandboxId: string; ports: readonly number[] }

const commandOffer: Offer = {
  webSocket: webSocketCommandProtocols,
  webSocketDefault: 'channel.k8s.io',
  spdy: spdyCommandProtocols,
  spdyDefault: 'channel.k8s.io',
}
/** The bytes of all messages are a SPDY connection. */
const tunnelProtocol = `SPDY/3.1+${portForwardProtocol}`
const portForwardOffer: Offer = {
  webSocket: [tunnelProtocol, ...webSocketPortForwardProtocols],
  webSocketDefault: 'v4.channel.k8s.io',
  spdy: [portForwardProtocol],
  spdyDefault: portForwardProtocol,
}

/** Starts the server. Clients speak SPDY/3.1 or WebSocket. */
export async function openStreaming(options: StreamingOptions): Promise<Streaming> {
  const {
    address = '127.0.0.1',
    port = 0,
    idleTimeoutMs = 4 * 3_600_000,
    tokenTtlMs = 60_000,
    probeMs = 5_000,
  } = options
  const tokens = createTokens<Asked>(tokenTtlMs)
  const sockets = new Set<Socket>()
  const server = createServer((request, response) => {
    const known = tokens.take(tokenOf(request)) !== undefined
    const text = known ? 'unable to upgrade: missing upgrade headers in request\n' : 'not found: the URL works once\n'
    response.writeHead(known ? 400 : 404, { 'Content-Type': 'text/plain; charset=utf-8' }).end(text)
  })
  const webSockets = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE })
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('timeout', () => socket.destroy())
    socket.setNoDelay(true)
    socket.on('error', () => {}) // 'close' follows, and whoever serves the socket sees that
    serveUpgrade({ request, socket, head }, { tokens, webSockets, adapters: options, probeMs })
    socket.setTimeout(idleTimeoutMs) // not before: ws takes away what was set
  })
  server.listen(port, address)
  await once(server, 'listening')
  const bound = server.address() as AddressInfo
  const base = `http://${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`
  return {
    exec: ({ cmd, ...streams }) => {
      validateCommand(streams)
      return `${base}/exec/${tokens.add({ kind: 'exec', request: { ...streams, command: cmd } })}`
    },
    attach: (request) => {
      validateCommand(request)
      return `${base}/attach/${tokens.add({ kind: 'attach', request })}`
    },
    portForward: ({ podSandboxId, port: ports }) => {
      validateSandbox(podSandboxId)
      return `${base}/portforward/${tokens.add({ kind: 'portforward', sandboxId: podSandboxId, ports })}`
    },
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

interface Connection {
  request: IncomingMessage
  socket: Socket
  head: Buffer
}

interface Services {
  tokens: Tokens<Asked>
  webSockets: WebSocketServer
  adapters: StreamAdapters
  probeMs: number
}

function serveUpgrade(connection: Connection, services: Services): void {
  const { request, socket, head } = connection
  const asked = services.tokens.take(tokenOf(request))
  if (!asked) return refuse(socket, 404, 'not found: the URL works once')
  const upgrade = chooseUpgrade(request, asked.kind === 'portforward' ? portForwardOffer : commandOffer)
  if (upgrade.kind === 'refused') return refuse(socket, upgrade.status, upgrade.text, upgrade.headers)
  if (upgrade.kind === 'spdy') {
    acceptSpdy(socket, upgrade.protocol)
    if (head.length > 0) socket.unshift(head)
    return void serveSpdyClient(socket, upgrade.protocol, asked, services)
  }
  // The offer is narrowed to the choice, so that the library takes it.
  if (upgrade.protocol) request.headers['sec-websocket-protocol'] = upgrade.protocol
  services.webSockets.handleUpgrade(request, socket, head, (client: WebSocket) => {
    void serveWebSocketClient(client, asked, services)
  })
}

async function serveSpdyClient(
  stream: Duplex,
  protocolName: string,
  asked: Asked,
  { adapters, probeMs }: Services,
): Promise<void> {
  const options = { adapters, probeMs, creationTimeoutMs: CREATION_TIMEOUT_MS }
  if (asked.kind === 'portforward') return servePortForward(stream, { ...options, sandboxId: asked.sandboxId })
  const protocol = spdyCommandProtocols.find((name) => name === protocolName) ?? 'channel.k8s.io'
  return serveSpdyCommand(stream, { ...options, protocol, asked })
}

async function serveWebSocketClient(client: WebSocket, asked: Asked, services: Services): Promise<void> {
  if (asked.kind !== 'portforward') return serveWebSocketCommand(client, asked, services)
  if (client.protocol === tunnelProtocol) {
    return serveSpdyClient(createWebSocketStream(client), portForwardProtocol, asked, services)
  }
  return serveWebSocketPortForward(client, { ...asked, ...services })
}

/** The last part of the path, whatever the part before: a token names its kind itself. */
function tokenOf({ url = '' }: IncomingMessage): string {
  return /^\/(?:exec|attach|portforward)\/([\w-]+)(?:\?.*)?$/.exec(url)?.[1] ?? ''
}
