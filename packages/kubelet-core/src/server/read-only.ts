// The kubelet's read-only port: health, pods and measurements, to everybody, over plain HTTP.
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { HttpError, urlOf } from './http-error.ts'
import { type Route, routeOf } from './routes.ts'
import { answer, debugKinds, type KubeletServerOptions, measureRequest } from './server.ts'

/** As the secure server's. */
export interface ReadOnlyServerOptions extends Pick<
  KubeletServerOptions,
  'address' | 'port' | 'node' | 'runtimeService' | 'containerLogsRoot' | 'measure' | 'log'
> {}

export interface ReadOnlyServer extends AsyncDisposable {
  readonly port: number
}

const shown: ReadonlySet<string> = new Set(['healthz', 'pods', 'metrics', 'summary'])

/** KubeletConfiguration `readOnlyPort`: no users are asked for. @throws Error when the port is taken */
export async function startReadOnlyServer(options: ReadOnlyServerOptions): Promise<ReadOnlyServer> {
  const server = createServer((request, response) => {
    measureRequest(request, response, options, 'readonly')
    void answer(request, response, options, shownRoute)
  })
  server.listen(options.port, options.address)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

/** @throws HttpError 404, or 405 for what leads into containers */
function shownRoute(request: IncomingMessage): Route {
  const route = routeOf(request.method ?? '', urlOf(request).pathname)
  if (route && shown.has(route.kind)) return route
  if (route && debugKinds.has(route.kind)) throw new HttpError(405, 'Debug endpoints are disabled.')
  throw new HttpError(404, '404 page not found')
}
