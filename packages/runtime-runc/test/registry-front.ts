// What stands between a pull and the real registry: it passes requests on, tells of them, and does what a test wants.
import { createServer, request as send } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'

/** Answers a request itself, or passes it on, with other headers when it wants to. */
export type Meddle = (
  request: IncomingMessage,
  response: ServerResponse,
  pass: (headers?: Record<string, string>) => void,
) => void

export interface Front extends AsyncDisposable {
  host: string
  /** Everything that was asked for, with the range that it was asked from. */
  asked: { url: string; range: string | undefined }[]
  meddle: Meddle
}

export async function startFront(registry: string, meddle: Meddle = (_, __, pass) => pass()): Promise<Front> {
  const server = createServer((request, response) => {
    const { url = '', method, headers } = request
    front.asked.push({ url, range: headers.range })
    front.meddle(request, response, (more = {}) => {
      const passed = send(`http://${registry}${url}`, { method, headers: { ...headers, host: registry, ...more } })
      passed.once('response', (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers)
        answer.pipe(response)
      })
      passed.once('error', () => response.destroy())
      response.once('close', () => passed.destroy())
      passed.end()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const front: Front = {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: [],
    meddle,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return front
}
