// Exec, attach and port-forward: the runtime is asked for a URL.
import { AttachRequest, CriError, ExecRequest, PortForwardRequest } from '@nodelet/cri-api'
import type { RuntimeService } from '@nodelet/cri-api'
import { HttpError } from './http-error.ts'
import { requireContainer, requirePod } from './pods.ts'
import type { Route } from './routes.ts'
import type { KubeletView } from './view.ts'

/** A route whose connection is upgraded. */
export type StreamRoute = Extract<Route, { kind: 'exec' | 'attach' | 'portForward' }>

/** The runtime's URL for a request. @throws HttpError */
export async function streamingUrl(
  route: StreamRoute,
  query: URLSearchParams,
  { node, runtimeService }: { node: KubeletView; runtimeService: RuntimeService },
): Promise<string> {
  const streams = route.kind === 'portForward' ? undefined : askedStreams(query)
  requirePod(node, route)
  try {
    if (route.kind === 'portForward') {
      const found = node.sandbox(route.namespace, route.pod)
      if ('error' in found) throw new HttpError(found.status, found.error)
      const port = query.getAll('port').flatMap(parsePort)
      const request = PortForwardRequest.fromPartial({ podSandboxId: found.sandboxId, port })
      return (await runtimeService.portForward(request)).url
    }
    const { containerId } = requireContainer(node, route)
    const request = { containerId, ...streams }
    if (route.kind === 'attach') return (await runtimeService.attach(AttachRequest.fromPartial(request))).url
    const cmd = query.getAll('command')
    return (await runtimeService.exec(ExecRequest.fromPartial({ ...request, cmd }))).url
  } catch (error) {
    throw error instanceof HttpError ? error : runtimeError(error)
  }
}

interface Streams {
  stdin: boolean
  stdout: boolean
  stderr: boolean
  tty: boolean
}

function askedStreams(query: URLSearchParams): Streams {
  const is = (...names: string[]): boolean => names.some((name) => ['1', 'true'].includes(query.get(name) ?? ''))
  const tty = is('tty')
  const streams = { tty, stdin: is('input', 'stdin'), stdout: is('output', 'stdout'), stderr: is('error', 'stderr') }
  if (streams.stdin || streams.stdout || streams.stderr) return { ...streams, stderr: streams.stderr && !tty }
  throw new HttpError(400, 'you must specify at least 1 of stdin, stdout, stderr')
}

function parsePort(text: string): number[] {
  return text.split(',').map((part) => {
    const port = Number(part)
    if (Number.isInteger(port) && port >= 1 && port <= 65_535) return port
    throw new HttpError(400, `invalid port "${part}": it must be between 1 and 65535`)
  })
}

/** The runtime's refusal as the kubelet passes it on. */
function runtimeError(error: unknown): HttpError {
  const code = error instanceof CriError ? error.code : 'UNKNOWN'
  const status = code === 'NOT_FOUND' ? 404 : code === 'RESOURCE_EXHAUSTED' ? 429 : 500
  return new HttpError(status, error instanceof Error ? error.message : String(error))
}
