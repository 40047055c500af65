// An upgraded connection passed on, byte for byte, to the runtime's streaming server.
import { STATUS_CODES } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'

/** A client's upgrade request that is not answered yet. */
export interface UpgradeRequest {
  request: IncomingMessage
  socket: Duplex
  /** What the client sent already after its request. */
  head: Buffer
}

/** The client's credentials and this hop's name are not the runtime's business. */
const withheld = new Set(['authorization', 'host'])

/** Sends the request on to the URL; answer and all that follows are the runtime's. @throws Error for other than http */
export function tunnel({ request, socket, head }: UpgradeRequest, url: string): void {
  const { protocol, hostname, port, host, pathname, search } = new URL(url)
  if (protocol !== 'http:') {
    throw new Error(`the runtime's streaming URL ${url} is not http: let it stream on loopback without TLS`)
  }
  const upstream = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80), allowHalfOpen: true })
  upstream.setNoDelay(true)
  upstream.once('connect', () => {
    upstream.write(`${request.method} ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\n${fields(request)}\r\n`)
    if (head.length > 0) upstream.write(head)
    socket.pipe(upstream)
    upstream.pipe(socket)
  })
  upstream.on('error', (error) => {
    if (upstream.bytesWritten > 0) return void socket.destroy()
    refuse(socket, 502, `error dialing the container runtime's streaming server ${host}: ${error.message}`)
  })
  upstream.once('close', () => {
    if (upstream.bytesWritten > 0 && !upstream.readableEnded) socket.destroy()
  })
  socket.once('error', () => upstream.destroy()).once('close', () => upstream.destroy())
}

function fields({ rawHeaders }: IncomingMessage): string {
  let text = ''
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? ''
    if (!withheld.has(name.toLowerCase())) text += `${name}: ${rawHeaders[index + 1]}\r\n`
  }
  return text
}

/** Answers an upgrade request with an error, and closes. */
export function refuse(socket: Duplex, status: number, text: string): void {
  const body = `${text}\n`
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n`
  socket.end(`${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
}
