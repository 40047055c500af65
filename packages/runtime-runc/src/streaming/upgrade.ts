// Which protocol an upgrade request asks for, and how it is answered.
import { STATUS_CODES } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'

/** What the client wants, or why it cannot have it. */
export type Upgrade =
  | { kind: 'websocket'; protocol: string }
  | { kind: 'spdy'; protocol: string }
  | { kind: 'refused'; status: number; text: string; headers?: Record<string, string> }

/** The protocols that a kind of request may speak. */
export interface Offer {
  webSocket: readonly string[]
  /** The default of a client that names none. */
  webSocketDefault?: string
  spdy: readonly string[]
  spdyDefault: string
}

/** Chooses the first protocol of the client's list that is on ours. */
export function chooseUpgrade({ headers }: Pick<IncomingMessage, 'headers'>, offer: Offer): Upgrade {
  const upgrade = headers.upgrade?.toLowerCase() ?? ''
  if (upgrade === 'websocket') return chooseWebSocket(list(headers['sec-websocket-protocol']), offer)
  if (upgrade !== 'spdy/3.1') {
    return { kind: 'refused', status: 400, text: 'unable to upgrade: missing upgrade headers in request' }
  }
  const asked = list(headers['x-stream-protocol-version'])
  const protocol = asked.length === 0 ? offer.spdyDefault : asked.find((name) => offer.spdy.includes(name))
  if (protocol !== undefined) return { kind: 'spdy', protocol }
  return {
    kind: 'refused',
    status: 403,
    text: `unable to upgrade: unable to negotiate protocol: client supports [${asked.join(' ')}], server accepts [${offer.spdy.join(' ')}]`,
    headers: { 'X-Accepted-Stream-Protocol-Versions': offer.spdy.join(', ') },
  }
}

function chooseWebSocket(asked: readonly string[], offer: Offer): Upgrade {
  const protocol = asked.length === 0 ? offer.webSocketDefault : asked.find((name) => offer.webSocket.includes(name))
  if (protocol !== undefined) return { kind: 'websocket', protocol: asked.length === 0 ? '' : protocol }
  const text = `requested protocol(s) are not supported: [${asked.join(' ')}]; supports [${offer.webSocket.join(' ')}]`
  return { kind: 'refused', status: 403, text }
}

function list(header: string | string[] | undefined): string[] {
  return (Array.isArray(header) ? header.join(',') : (header ?? ''))
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
}

/** Answers an upgrade request without upgrading, and closes. */
export function refuse(socket: Duplex, status: number, text: string, headers: Record<string, string> = {}): void {
  const body = `${text}\n`
  const fields = { ...headers, 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': Buffer.byteLength(body) }
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\n${lines.join('')}\r\n${body}`)
}

/** Accepts SPDY. */
export function acceptSpdy(socket: Duplex, protocol: string): void {
  const fields = ['Connection: Upgrade', 'Upgrade: SPDY/3.1', `X-Stream-Protocol-Version: ${protocol}`]
  socket.write(`HTTP/1.1 101 Switching Protocols\r\n${fields.join('\r\n')}\r\n\r\n`)
}
