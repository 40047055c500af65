// Small HTTP servers of the proxy.
import { createServer, type RequestListener, type ServerResponse } from 'node:http'
import { isIP } from 'node:net'
import { inNetns } from '../apply/program.ts'
import type { Logger } from '../log.ts'

export interface ListenAddress {
  /** IPv4 or IPv6. */
  host: string
  port: number
}

/** @throws RangeError naming the field */
export function parseListenAddress(field: string, text: string): ListenAddress {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text) ?? []
  const host = bracketed ?? plain ?? ''
  const port = Number(digits)
  const isFitting = isIP(host) === (bracketed === undefined ? 4 : 6)
  if (isFitting && port >= 1 && port <= 65_535) return { host, port }
  throw new RangeError(
    `${field}: ${JSON.stringify(text)} is no address with a port: write it like 0.0.0.0:10256 or [::]:10256`,
  )
}

/** Milliseconds until a server that cannot listen tries again. */
const retryMs = 5000

export interface ServeOptions {
  /** For log lines. */
  name: string
  address: ListenAddress
  netns: string | undefined
  log: Logger
  /** Told of each failure to listen. @returns whether that is the end: it is not tried again */
  failed?: (error: Error) => boolean
}

/** Serves until closed. An address that is taken is told to the log once, and tried again each 5 s. */
export function serve(answer: RequestListener, options: ServeOptions): AsyncDisposable {
  const { name, address, netns, log, failed } = options
  const { host, port } = address
  const server = createServer(answer)
  let retry: NodeJS.Timeout | undefined
  let told = false
  let isOver = false
  const listen = (): void => {
    // With an address the socket would be made in a later turn, outside of the network namespace.
    if (netns === undefined) server.listen(port, host)
    else inNetns(netns, () => server.listen(port))
  }
  if (netns !== undefined && !/^(0\.0\.0\.0|::)$/.test(host)) {
    server.on('connection', (socket) => {
      if (socket.localAddress?.replace(/^::ffff:/, '') !== host) socket.destroy()
    })
  }
  server.on('error', (error) => {
    if (isOver) return
    if (failed?.(error)) {
      isOver = true
      return
    }
    if (!told)
      log.error({ err: error, address: `${host} ${port}` }, `${name} cannot listen: it is tried again each 5 s`)
    told = true
    retry = setTimeout(listen, retryMs)
    retry.unref()
  })
  // It may come to listen only after it was closed: an address takes a turn to be looked up.
  server.on('listening', () => isOver && server.close())
  listen()
  return {
    async [Symbol.asyncDispose]() {
      isOver = true
      clearTimeout(retry)
      if (!server.listening) return
      const closed = new Promise((resolve) => server.once('close', resolve))
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

/** Of a request, without what it asks. */
export const pathOf = (url = '/'): string => url.split('?', 1)[0] ?? '/'

/** Answers as Go's servers do: the type is not to be guessed, and the length is told. */
export function send(response: ServerResponse, code: number, type: string, body: string, more: object = {}): void {
  const headers = { 'Content-Type': type, 'X-Content-Type-Options': 'nosniff', ...more }
  response.writeHead(code, { ...headers, 'Content-Length': Buffer.byteLength(body) }).end(body)
}

export const plainText = 'text/plain; charset=utf-8'

/** As Go's servers say it. */
export const notFound = (response: ServerResponse): void => send(response, 404, plainText, '404 page not found\n')
