// GET /logs/: files and folders of the node, or the logs of its services.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { HttpError, urlOf } from './http-error.ts'
import { parseLogQuery } from './log-query.ts'
import { serveLogQuery } from './service-logs.ts'
import { serveSystemLog } from './system-logs.ts'

/** @param signal aborts when the client leaves. @throws HttpError */
export async function serveNodeLogs(
  path: string,
  { request, response }: { request: IncomingMessage; response: ServerResponse },
  { systemLogs: root = '/var/log', systemLogQuery = false }: { systemLogs?: string; systemLogQuery?: boolean },
  signal: AbortSignal,
): Promise<void> {
  if (root === '') throw new HttpError(405, 'logs endpoint is disabled.')
  const asked = systemLogQuery ? parseLogQuery(urlOf(request).searchParams) : undefined
  if (asked && path !== '') throw new HttpError(406, 'path not allowed in query mode')
  if (!asked) await serveSystemLog(response, root, path)
  else await serveLogQuery(asked, { request, response }, { root, signal })
}
