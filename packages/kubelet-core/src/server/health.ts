// Whether the kubelet is healthy, in the words of Kubernetes' health checks; and a plain server that says only this.
import type { ServerResponse } from 'node:http'
import { type PlainServer, startPlainServer } from './plain-server.ts'

/** One check; `problem` undefined: it is fine. */
export interface HealthCheck {
  name: string
  problem?: string | undefined
}

export interface HealthAnswer {
  status: number
  text: string
}

/**
 * @param path `/healthz` for all checks, or `/healthz/NAME` for one
 * @returns undefined for a check that there is not
 */
export function healthAnswer(checks: readonly HealthCheck[], path: string, verbose: boolean): HealthAnswer | undefined {
  const name = path.replace(/^\/healthz\/?/, '')
  if (name !== '') {
    const check = checks.find((one) => one.name === name)
    if (!check) return undefined
    return check.problem === undefined
      ? { status: 200, text: 'ok' }
      : { status: 500, text: `internal server error: ${check.problem}\n` }
  }
  const lines = checks.map((check) =>
    check.problem === undefined ? `[+]${check.name} ok` : `[-]${check.name} failed: reason withheld`,
  )
  if (checks.some(({ problem }) => problem !== undefined)) {
    return { status: 500, text: `${[...lines, 'healthz check failed'].join('\n')}\n` }
  }
  return { status: 200, text: verbose ? `${[...lines, 'healthz check passed'].join('\n')}\n` : 'ok' }
}

export function sendHealth(response: ServerResponse, url: URL, checks: readonly HealthCheck[]): void {
  const answer = healthAnswer(checks, url.pathname, url.searchParams.has('verbose'))
  const { status, text } = answer ?? { status: 404, text: '404 page not found\n' }
  response
    .writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', 'X-Content-Type-Options': 'nosniff' })
    .end(text)
}

/** KubeletConfiguration `healthzBindAddress` and `healthzPort`: plain HTTP, no users. @throws Error when the port is taken */
export async function startHealthServer(
  where: { address: string; port: number },
  checks: () => readonly HealthCheck[],
): Promise<PlainServer> {
  return startPlainServer(where, (request, response) => {
    const url = URL.parse(request.url ?? '', 'http://kubelet')
    if (url && /^\/healthz(\/|$)/.test(url.pathname)) sendHealth(response, url, checks())
    else response.writeHead(404, { 'Content-Type': 'text/plain; charset=utf-8' }).end('404 page not found\n')
  })
}
