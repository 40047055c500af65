// What people and scrapers are answered: metrics, mode, configuration, profiles.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Registry } from 'prom-client'
import type { ProxyMetrics } from '../metrics/proxy-metrics.ts'
import type { ProxyMode } from '../mode.ts'
import { notFound, pathOf, plainText, send } from './http.ts'
import { flagzText, statuszText } from './z-pages.ts'

/** Pages that gates switch on. */
export interface ZPages {
  flagz?: boolean | undefined
  statusz?: boolean | undefined
}

export interface MetricsContext {
  mode: ProxyMode
  metrics: Pick<ProxyMetrics, 'registry' | 'slis' | 'pinged'>
  /** What `/configz` shows; undefined: there is no such page. */
  configuration: object | undefined
  /** Whether `/flagz`, which needs a configuration, and `/statusz` are there. */
  pages: ZPages
  /** Whether there is anything below `/debug/`. */
  enableProfiling: boolean
  /** Answers `/debug/pprof/…`; undefined: it cannot be done here. */
  profiles: RequestListener | undefined
  /** Makes the log tell as much; undefined: it cannot be told. */
  setVerbosity: ((verbosity: number) => void) | undefined
}

/** As the Go proxy names it in its answer. */
const configurationName = 'kubeproxy.config.k8s.io'

const paths = ['/configz', '/flagz', '/healthz', '/metrics', '/metrics/slis', '/proxyMode', '/statusz']

/**
 * `/metrics`, `/metrics/slis`, `/healthz`, `/proxyMode`, `/configz`, the pages of {@link ZPages}, and with profiling what is below
 * `/debug/`.
 */
export function metricsEndpoints(context: MetricsContext): RequestListener {
  const { mode, metrics, configuration, pages, enableProfiling } = context
  return (request, response) => {
    const path = pathOf(request.url)
    if (enableProfiling && path.startsWith('/debug/')) return debug(path, request, response, context)
    request.resume()
    if (path === '/proxyMode') send(response, 200, plainText, mode)
    else if (path === '/healthz' || path === '/healthz/ping') {
      if (path === '/healthz') metrics.pinged()
      const isVerbose = path === '/healthz' && new URL(request.url ?? '', 'http://x').searchParams.has('verbose')
      send(response, 200, plainText, isVerbose ? '[+]ping ok\nhealthz check passed\n' : 'ok')
    } else if (path === '/metrics') sendMetrics(metrics.registry, response)
    else if (path === '/metrics/slis') sendMetrics(metrics.slis, response)
    else if (path === '/configz' && configuration)
      send(response, 200, 'application/json', JSON.stringify({ [configurationName]: configuration }))
    else if (path === '/flagz' && pages.flagz && configuration) send(response, 200, plainText, flagzText(configuration))
    else if (path === '/statusz' && pages.statusz)
      send(response, 200, plainText, statuszText(paths, process.uptime(), Date.now()))
    else notFound(response)
  }
}

function sendMetrics(registry: Registry, response: ServerResponse): void {
  void registry.metrics().then(
    (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
    (error: unknown) => send(response, 500, plainText, `${String(error)}\n`),
  )
}

function debug(
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
  { profiles, setVerbosity }: MetricsContext,
): void {
  if (path === '/debug/flags/v') return void answerVerbosity(request, response, setVerbosity)
  request.resume()
  if (!path.startsWith('/debug/pprof')) return notFound(response)
  if (profiles) profiles(request, response)
  else send(response, 501, plainText, 'this proxy was started without anything that makes profiles\n')
}

const mostBytes = 64

async function answerVerbosity(
  request: IncomingMessage,
  response: ServerResponse,
  setVerbosity: MetricsContext['setVerbosity'],
): Promise<void> {
  const end = (code: number, text: string): void => send(response, code, plainText, text)
  if (request.method !== 'PUT') {
    request.resume()
    return end(406, 'unsupported http method\n')
  }
  let body = ''
  try {
    for await (const piece of request.setEncoding('utf8')) {
      body += piece as string
      if (body.length > mostBytes) return end(400, `error reading request body: more than ${mostBytes} bytes\n`)
    }
  } catch {
    return void response.destroy() // the client has gone
  }
  if (!/^-?\d{1,9}$/.test(body))
    return end(400, `failed set klog.logging.verbosity ${JSON.stringify(body)}: is not an integer\n`)
  if (!setVerbosity) return end(501, 'the verbosity of this log cannot be changed\n')
  setVerbosity(Number(body))
  end(200, `successfully set klog.logging.verbosity to ${body}`)
}
