// The kubelet's HTTPS server: logs, streams, pods and measurements, for the API server and whoever else may.
import { constants } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import type { Serving } from '../certificate/serving.ts'
import { type AdmitOptions, admit } from './admit.ts'
import { answer, type AnswerOptions, messageOf, report } from './answer.ts'
import { opensslCiphers } from './ciphers.ts'
import { HttpError, urlOf } from './http-error.ts'
import { type MeasureOptions, measureRequest } from './measure.ts'
import { streamingUrl } from './streams.ts'
import { refuse, tunnel } from './tunnel.ts'
import type { UpgradeRequest } from './tunnel.ts'

const STREAM_IDLE_MS = 4 * 3_600_000

/** Where the server listens and what it shows to whom. Certificates and keys are PEM texts. */
export interface KubeletServerOptions extends AdmitOptions, AnswerOptions, MeasureOptions {
  address: string
  /** The kubelet's is 10250; 0 is any free one. */
  port: number
  certificate: string
  key: string
  /** KubeletConfiguration `tlsMinVersion`; default `VersionTLS12`. */
  tlsMinVersion?: string | undefined
  /** KubeletConfiguration `tlsCipherSuites`, of TLS 1.2; empty: those that Node takes by default. */
  tlsCipherSuites?: readonly string[] | undefined
  /** KubeletConfiguration `streamingConnectionIdleTimeout`, in milliseconds; default 4 h. */
  streamIdleMs?: number
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
  // Those whose handshake is not over, too.
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('secureConnection', (socket: TLSSocket) => {
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
