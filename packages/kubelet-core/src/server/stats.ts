// What the node and its pods use, as pages of metrics and as JSON.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { metricsContentType } from '../metrics/text.ts'
import { HttpError, urlOf } from './http-error.ts'
import type { Route } from './routes.ts'
import type { KubeletView } from './view.ts'

/** How long a measurement may take, in milliseconds. */
const longestMs = 60_000

/** @throws HttpError 404 when nobody measures */
export async function serveStats(
  route: Extract<Route, { kind: 'metrics' | 'summary' }>,
  request: IncomingMessage,
  response: ServerResponse,
  node: KubeletView,
): Promise<void> {
  const left = new AbortController()
  response.once('close', () => left.abort(new Error('the client has left')))
  const signal = AbortSignal.any([left.signal, AbortSignal.timeout(longestMs)])
  const missing = new HttpError(404, '404 page not found')
  if (route.kind === 'metrics') {
    if (!node.metrics) throw missing
    const text = await node.metrics(route.page, signal)
    response.writeHead(200, { 'Content-Type': metricsContentType }).end(text)
    return
  }
  if (!node.summary) throw missing
  const brief = urlOf(request).searchParams.get('only_cpu_and_memory') === 'true'
  const summary = await node.summary(brief, signal)
  response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(summary))
}
