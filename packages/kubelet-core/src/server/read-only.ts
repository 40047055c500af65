// The kubelet's read-only port: health, pods and measurements, to everybody, over plain HTTP.
import type { IncomingMessage } from 'node:http'
import { HttpError, urlOf } from './http-error.ts'
import { type PlainServer, startPlainServer } from './plain-server.ts'
import { type Route, routeOf } from './routes.ts'
import { debugKinds } from './admit.ts'
import { answer, type AnswerOptions } from './answer.ts'
import { type MeasureOptions, measureRequest } from './measure.ts'

/** As the secure server's. */
export interface ReadOnlyServerOptions extends AnswerOptions, MeasureOptions {
  address: string
  port: number
}

const shown: ReadonlySet<string> = new Set(['healthz', 'pods', 'metrics', 'summary'])

/** KubeletConfiguration `readOnlyPort`: no users are asked for. @throws Error when the port is taken */
export async function startReadOnlyServer(options: ReadOnlyServerOptions): Promise<PlainServer> {
  return startPlainServer(options, (request, response) => {
    measureRequest(request, response, options, 'readonly')
    void answer(request, response, options, shownRoute)
  })
}

/** @throws HttpError 404, or 405 for what leads into containers */
function shownRoute(request: IncomingMessage): Route {
  const route = routeOf(request.method ?? '', urlOf(request).pathname)
  if (route && shown.has(route.kind)) return route
  if (route && debugKinds.has(route.kind)) throw new HttpError(405, 'Debug endpoints are disabled.')
  throw new HttpError(404, '404 page not found')
}
