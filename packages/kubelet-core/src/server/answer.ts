// Answers that are no streams.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { RuntimeService } from '@nodelet/cri-api'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { type Logger, silentLogger } from '../log.ts'
import { runCommand, takeCheckpoint } from './debug.ts'
import { flagsText } from './flagz.ts'
import { sendHealth } from './health.ts'
import { HttpError, urlOf } from './http-error.ts'
import { serveLog } from './logs.ts'
import { serveNodeLogs } from './node-logs.ts'
import { servePprof } from './pprof.ts'
import type { Route } from './routes.ts'
import { serveStats } from './stats.ts'
import { statusText } from './statusz.ts'
import { setVerbosity } from './verbosity.ts'
import type { KubeletView } from './view.ts'

/** What answers need that are no streams. */
export interface AnswerOptions {
  node: KubeletView
  runtimeService: RuntimeService
  /** Logs outside are not shown. The kubelet's is `/var/log/pods`. */
  containerLogsRoot: string
  /** Where `/logs/` looks; default `/var/log`, '' for nowhere. */
  systemLogs?: string
  /** KubeletConfiguration `enableSystemLogQuery`: `/logs/?query=…` shows the logs of services; default false. */
  systemLogQuery?: boolean
  /** KubeletConfiguration `enableProfilingHandler`; default true. */
  profiling?: boolean
  /** KubeletConfiguration `enableDebugFlagsHandler`; default true. */
  debugFlags?: boolean
  log?: Logger
}

/** @param routeFor throws an HttpError for what this client may not have */
export async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: AnswerOptions,
  routeFor: (request: IncomingMessage) => Route | Promise<Route>,
): Promise<void> {
  try {
    const route = await routeFor(request)
    if (response.destroyed) return // the client did not wait to be known
    await serve(route, request, response, options)
  } catch (error) {
    if (response.headersSent || response.destroyed) {
      options.log?.debug({ url: request.url, error: messageOf(error) }, 'an answer ended early')
      return void response.destroy()
    }
    const status = report(error, request, options)
    sendText(response, status, messageOf(error))
  }
}

async function serve(
  route: Route,
  request: IncomingMessage,
  response: ServerResponse,
  options: AnswerOptions,
): Promise<void> {
  const { node } = options
  const query = urlOf(request).searchParams
  const left = new AbortController()
  response.once('close', () => left.abort(new Error('the client has left')))
  switch (route.kind) {
    case 'healthz':
      return sendHealth(response, urlOf(request), node.health?.() ?? [])
    case 'pods':
      return sendPods(response, node.pods())
    case 'runningPods':
      if (!node.runningPods) throw new HttpError(404, '404 page not found')
      return sendPods(response, await node.runningPods(left.signal))
    case 'configz':
      return sendJson(response, { kubeletconfig: node.configz?.() ?? {} })
    case 'flagz':
      return sendText(response, 200, flagsText(node.flags?.() ?? {}))
    case 'statusz':
      return sendText(response, 200, statusText())
    case 'pprof':
      if (options.profiling === false) throw new HttpError(405, 'profiling endpoint is disabled.')
      return servePprof(route.name, response, query, left.signal)
    case 'verbosity':
      if (options.debugFlags === false) throw new HttpError(405, 'flags endpoint is disabled.')
      return sendText(response, 200, await setVerbosity(request, node))
    case 'metrics':
    case 'summary':
      return serveStats(route, request, response, node)
    case 'logs':
      return serveNodeLogs(route.path, { request, response }, options, left.signal)
    case 'run':
      return sendText(response, 200, await runCommand(route, query, options, left.signal))
    case 'checkpoint':
      return sendJson(response, await takeCheckpoint(route, query, node, left.signal))
    case 'containerLogs':
      return serveLog(route, { request, response }, { node, root: options.containerLogsRoot })
    default:
      throw new HttpError(400, 'Upgrade request required')
  }
}

const sendPods = (response: ServerResponse, items: readonly Pod[]): void =>
  sendJson(response, { kind: 'PodList', apiVersion: 'v1', metadata: {}, items })

function sendJson(response: ServerResponse, body: object): void {
  response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
}

/** Logs what is our own fault, and returns the status. */
export function report(error: unknown, request: IncomingMessage, { log = silentLogger }: AnswerOptions): number {
  const status = error instanceof HttpError ? error.status : 500
  const fields = { method: request.method, url: request.url, status, error: messageOf(error) }
  if (status >= 500) log.warn(fields, 'a request failed')
  else log.debug(fields, 'a request was refused')
  return status
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

function sendText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' }).end(text)
}
