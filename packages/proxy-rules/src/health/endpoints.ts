// What load balancers are answered: whether they may send to this node, and whether the proxy does its work.
import type { RequestListener } from 'node:http'
import type { ProxyMetrics } from '../metrics/proxy-metrics.ts'
import { notFound, pathOf, send } from './http.ts'
import { proxyHealth, type FamilyWork } from './proxy-health.ts'

export interface EndpointContext {
  work(): FamilyWork[]
  /** Whether load balancers may send to this node. */
  nodeEligible(): boolean
  /** A change that has waited this long is late, in milliseconds. */
  timeoutMs: number
  metrics: ProxyMetrics
}

/** `/healthz`, which load balancers ask, and `/livez`, which does not look at the node. Any method. */
export function healthEndpoints({ work, nodeEligible, timeoutMs, metrics }: EndpointContext): RequestListener {
  return (request, response) => {
    request.resume()
    const path = pathOf(request.url)
    if (path !== '/healthz' && path !== '/livez') return notFound(response)
    const eligible = path === '/healthz' ? nodeEligible() : undefined
    const { code, body } = proxyHealth(work(), Date.now(), timeoutMs, eligible)
    metrics.answered(path === '/healthz' ? 'healthz' : 'livez', code)
    send(response, code, 'application/json', body)
  }
}
