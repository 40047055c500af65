// What the proxy answers over HTTP: whether it is healthy, its metrics and its mode.
import type { RequestListener } from 'node:http'
import type { ProxyMetrics } from '../metrics/proxy-metrics.ts'
import type { ProxyMode } from '../mode.ts'
import { proxyHealth, type FamilyWork } from './proxy-health.ts'

export interface EndpointContext {
  mode: ProxyMode
  work(): FamilyWork[]
  /** Whether load balancers may send to this node. */
  nodeEligible(): boolean
  /** A change that has waited this long is late, in milliseconds. */
  timeoutMs: number
  metrics: ProxyMetrics
}

const pathOf = (url = '/'): string => url.split('?', 1)[0] ?? '/'

/** `/healthz`, which load balancers ask, and `/livez`, which does not look at the node. Any method. */
export function healthEndpoints({ work, nodeEligible, timeoutMs, metrics }: EndpointContext): RequestListener {
  return (request, response) => {
    request.resume()
    const path = pathOf(request.url)
    if (path !== '/healthz' && path !== '/livez') return notFound(response)
    const eligible = path === '/healthz' ? nodeEligible() : undefined
    const { code, body } = proxyHealth(work(), Date.now(), timeoutMs, eligible)
    metrics.answered(path === '/healthz' ? 'healthz' : 'livez', code)
    response.writeHead(code, { 'content-type': 'application/json', 'x-content-type-options': 'nosniff' })
    response.end(body)
  }
}

/** `/metrics`, `/proxyMode`, and `/healthz`, which says that the process answers. */
export function metricsEndpoints({ mode, metrics }: EndpointContext): RequestListener {
  const plain = { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' }
  return (request, response) => {
    request.resume()
    const path = pathOf(request.url)
    if (path === '/proxyMode') response.writeHead(200, plain).end(mode)
    else if (path === '/healthz') response.writeHead(200, plain).end('ok')
    else if (path === '/metrics') {
      void metrics.registry.metrics().then(
        (text) => response.writeHead(200, { 'content-type': metrics.registry.contentType }).end(text),
        (error: unknown) => response.writeHead(500, plain).end(`${String(error)}\n`),
      )
    } else notFound(response)
  }
}

function notFound(response: Parameters<RequestListener>[1]): void {
  response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('404 page not found\n')
}
