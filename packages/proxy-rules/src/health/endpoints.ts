// What load balancers are answered: whether they may send to this node, and whether the proxy does its work.
import type { RequestListener } from 'node:http'
import type { ProxyMetrics } from '../metrics/proxy-metrics.ts'
import { notFound, pathOf, send } from './http.ts'
import { proxyHealth, type FamilyWork } from './proxy-health.ts'

export interface EndpointContext {
  work(): FamilyWork[]
  /** Whether the rules of each family have been loaded once. */
  isLoaded(): boolean
  /** Whether load balancers may send to this node. */
  nodeEligible(): boolean
  /** A change that has waited this long is late, in milliseconds. */
  timeoutMs: number
  metrics: ProxyMetrics
}

/**
 * `/healthz`, which load balancers ask; `/livez`, which does not look at the node; and `/readyz`, which kube-proxy does not have: as
 * `/livez`, once Services are served. Any method.
 */
export function healthEndpoints(context: EndpointContext): RequestListener {
  const { work, isLoaded, nodeEligible, timeoutMs, metrics } = context
  return (request, response) => {
    request.resume()
    const path = pathOf(request.url)
    if (path !== '/healthz' && path !== '/livez' && path !== '/readyz') return notFound(response)
    const eligible = path === '/healthz' ? nodeEligible() : undefined
    const { code, body } = proxyHealth(work(), Date.now(), timeoutMs, eligible)
    if (path === '/readyz') return send(response, isLoaded() ? code : 503, 'application/json', body)
    metrics.answered(path === '/healthz' ? 'healthz' : 'livez', code)
    send(response, code, 'application/json', body)
  }
}
