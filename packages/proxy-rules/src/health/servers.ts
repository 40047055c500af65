// The two HTTP servers of a proxy: for load balancers, and for people and scrapers.
import type { RequestListener } from 'node:http'
import type { EventRecorder } from '../events.ts'
import type { Logger } from '../log.ts'
import { healthEndpoints, type EndpointContext } from './endpoints.ts'
import { parseListenAddress, serve, type ListenAddress } from './http.ts'
import { metricsEndpoints, type MetricsContext } from './metrics-endpoints.ts'

/** Where the servers listen. */
export interface ServerAddresses {
  /** For instance `0.0.0.0:10256`; default: nowhere. */
  healthzBindAddress?: string
  /** For instance `127.0.0.1:10249`; default: nowhere. */
  metricsBindAddress?: string
}

export interface ServersOptions {
  netns: string | undefined
  events: Pick<EventRecorder, 'onNode'>
  /** A server that cannot listen is the end: this is told. Undefined: it is tried again. */
  hardFail: ((error: Error) => void) | undefined
  log: Logger
}

/** Opens the servers. @throws RangeError naming a malformed address */
export type OpenServers = (context: EndpointContext & MetricsContext, options: ServersOptions) => AsyncDisposable[]

/** Checks the addresses. @throws RangeError naming the field */
export function planServers({ healthzBindAddress, metricsBindAddress }: ServerAddresses): OpenServers {
  const healthz = addressOf('healthzBindAddress', healthzBindAddress)
  const metrics = addressOf('metricsBindAddress', metricsBindAddress)
  return (context, options) => [
    ...open(healthz, healthEndpoints(context), options, {
      name: 'the health server',
      reason: 'FailedToStartProxierHealthcheck',
      say: (error) => `failed to start proxier healthz on ${healthzBindAddress}: ${error.message}`,
    }),
    ...open(metrics, metricsEndpoints(context), options, {
      name: 'the metrics server',
      reason: 'FailedToStartMetricServer',
      say: (error) => `starting metrics server failed: ${error.message}`,
    }),
  ]
}

const addressOf = (field: string, text: string | undefined): ListenAddress | undefined =>
  text === undefined ? undefined : parseListenAddress(field, text)

interface Failure {
  name: string
  reason: string
  say(error: Error): string
}

function open(
  address: ListenAddress | undefined,
  answer: RequestListener,
  { netns, events, hardFail, log }: ServersOptions,
  { name, reason, say }: Failure,
): AsyncDisposable[] {
  if (!address) return []
  const failed = (error: Error): boolean => {
    const note = say(error)
    events.onNode({ type: 'Warning', reason, action: 'StartKubeProxy', note })
    hardFail?.(new Error(note, { cause: error }))
    return hardFail !== undefined
  }
  return [serve(answer, { name, address, netns, log, failed })]
}
