// GET /containerLogs.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { HttpError, urlOf } from './http-error.ts'
import { readLog } from './log-file.ts'
import { LogOptionsError, parseLogOptions } from './log-options.ts'
import type { LogOptions } from './log-options.ts'
import { findPod, hasContainer } from './pods.ts'
import type { Route } from './routes.ts'
import type { KubeletView } from './view.ts'

type LogRoute = Extract<Route, { kind: 'containerLogs' }>

/** Answers with the log; with `follow` until the container ends or the client leaves. @throws HttpError */
export async function serveLog(
  route: LogRoute,
  { request, response }: { request: IncomingMessage; response: ServerResponse },
  { node, root }: { node: KubeletView; root: string },
): Promise<void> {
  const options = optionsOf(urlOf(request).searchParams)
  const { containerId, path } = locate(route, options.previous, { node, root })
  await requireReadable(path)
  const left = new AbortController()
  response.once('close', () => left.abort(new Error('the client has left')))
  response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' })
  response.flushHeaders() // a followed log may be silent for long
  const ended = (signal: AbortSignal): Promise<void> => node.ended(containerId, signal)
  const pieces = readLog({ path, options, ended, signal: left.signal })
  await pipeline(Readable.from(pieces, { objectMode: false }), response)
}

async function requireReadable(path: string): Promise<void> {
  try {
    await access(path, constants.R_OK)
  } catch (error) {
    const reason =
      error instanceof Error && 'code' in error && error.code === 'ENOENT' ? 'no such file or directory' : error
    throw new HttpError(400, `failed to try resolving symlinks in path "${path}": lstat ${path}: ${String(reason)}`)
  }
}

function optionsOf(query: URLSearchParams): LogOptions {
  try {
    return parseLogOptions(query, Date.now())
  } catch (error) {
    throw error instanceof LogOptionsError ? new HttpError(error.status, error.message) : error
  }
}

function locate(
  { namespace, pod: podName, container }: LogRoute,
  previous: boolean,
  { node, root }: { node: KubeletView; root: string },
): { containerId: string; path: string } {
  const pod = findPod(node, { namespace, pod: podName })
  if (!pod) throw new HttpError(404, `pod "${podName}" does not exist`)
  if (!hasContainer(pod, container)) throw new HttpError(404, `container "${container}" not found in pod "${podName}"`)
  const found = node.container(namespace, podName, container, previous)
  if ('error' in found) throw new HttpError(found.status, found.error)
  const path = resolve(root, found.logPath)
  if (path.startsWith(join(root, '/'))) return { containerId: found.containerId, path }
  throw new HttpError(500, `the log of container "${container}" is not below ${root}: it is ${path}`)
}
