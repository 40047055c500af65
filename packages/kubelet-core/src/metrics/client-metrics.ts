// Requests to the API server, under the names that clients in Go have.
import type { KubeClient } from '@nodelet/kube-client'
import type { Counter, Histogram } from 'prom-client'
import type { Families } from './families.ts'

export interface ClientMetrics {
  clientRequests: Counter<'code' | 'host' | 'method'>
  clientRequestSeconds: Histogram<'host' | 'verb'>
}

export const clientMetrics = ({ counter, histogram }: Families): ClientMetrics => ({
  clientRequests: counter('rest_client_requests_total', 'Requests to the API server by what they came to', [
    'code',
    'host',
    'method',
  ]),
  clientRequestSeconds: histogram(
    'rest_client_request_duration_seconds',
    'How long the API server takes until it begins to answer',
    ['host', 'verb'],
    [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60],
  ),
})

/** Counts until it is disposed of. */
export const countRequests = (client: Pick<KubeClient, 'observe'>, metrics: ClientMetrics): Disposable =>
  client.observe(({ method, host, status, seconds }) => {
    metrics.clientRequests.inc({ code: status ?? '<error>', host, method })
    metrics.clientRequestSeconds.observe({ host, verb: method }, seconds)
  })
