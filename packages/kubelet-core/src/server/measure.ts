// Requests to the server, counted and timed under labels that stay few whatever clients send.
import type { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'

export interface RequestLabels {
  method: string
  path: string
  server_type: 'readwrite' | 'readonly'
  long_running: 'true' | 'false'
}

const methods = new Set(['CONNECT', 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'TRACE'])
const paths = new Set([
  'attach',
  'checkpoint',
  'configz',
  'containerLogs',
  'debug',
  'exec',
  'flagz',
  'healthz',
  'logs',
  'metrics',
  'metrics/cadvisor',
  'metrics/probes',
  'metrics/resource',
  'metrics/slis',
  'pods',
  'portForward',
  'run',
  'runningpods',
  'stats',
  'statusz',
])
const long = new Set(['attach', 'debug', 'exec', 'portForward'])

/** @param path as asked for, without a query */
export function requestLabels(method: string, path: string, server: RequestLabels['server_type']): RequestLabels {
  const [first = '', second] = path.split('/').slice(1)
  const name = first === 'metrics' && second ? `metrics/${second}` : first
  return {
    method: methods.has(method) ? method : 'other',
    path: paths.has(name) ? name : 'other',
    server_type: server,
    long_running: long.has(name) ? 'true' : 'false',
  }
}

export interface MeasureOptions {
  /** A request has begun; what it answers is called at the end of the request. */
  measure?: (labels: RequestLabels) => () => void
}

export function measureRequest(
  request: IncomingMessage,
  until: EventEmitter,
  { measure }: MeasureOptions,
  server: RequestLabels['server_type'],
): void {
  // What is no URL is refused later.
  const path = URL.parse(request.url ?? '', 'http://kubelet')?.pathname ?? ''
  const ended = measure?.(requestLabels(request.method ?? '', path, server))
  if (ended) until.once('close', ended)
}
