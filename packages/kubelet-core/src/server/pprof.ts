// GET /debug/pprof/: profiles of this process, as `go tool pprof` asks for them.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type ProfileName, ProfilerBusy, takeProfile } from '../profiling/profiles.ts'
import { HttpError, urlOf } from './http-error.ts'

const profiles: Readonly<Record<ProfileName, string>> = {
  profile: 'CPU time, for ?seconds=N (30)',
  heap: 'memory that was taken within ?seconds=N (30) and is still in use',
  allocs: 'all memory that was taken within ?seconds=N (30)',
}

/** Of Go's runtime alone. */
const others: ReadonlySet<string> = new Set(['block', 'goroutine', 'mutex', 'symbol', 'threadcreate', 'trace'])

const usualSeconds = 30
/** A connection may last no longer. */
const mostSeconds = 4 * 3600

/** @param signal aborts when the client leaves. @throws HttpError */
export async function servePprof(
  name: string,
  response: ServerResponse,
  query: URLSearchParams,
  signal: AbortSignal,
): Promise<void> {
  if (name === '') return sendIndex(response)
  if (name === 'cmdline') {
    const line = [process.argv0, ...process.execArgv, ...process.argv.slice(1)].join('\0')
    return void response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' }).end(line)
  }
  if (others.has(name))
    throw new HttpError(501, `${name}: this process runs on Node.js, not on Go: it has no such profile`)
  if (!isProfile(name)) throw new HttpError(404, 'Unknown profile')
  const packed = await takeProfile(name, secondsOf(query) * 1000, signal).catch((error: unknown) => {
    throw error instanceof ProfilerBusy ? new HttpError(500, error.message) : error
  })
  response
    .writeHead(200, {
      'Content-Type': 'application/octet-stream',
      'Content-Disposition': `attachment; filename="${name}"`,
      'X-Content-Type-Options': 'nosniff',
    })
    .end(packed)
}

/** Answers `/debug/pprof/…` on any server; who may ask is its own matter. */
export function answerPprof(request: IncomingMessage, response: ServerResponse): void {
  const left = new AbortController()
  response.on('close', () => left.abort())
  request.resume()
  const answer = async (): Promise<void> => {
    const { pathname, searchParams } = urlOf(request)
    await servePprof(pathname.replace(/^\/debug\/pprof\/?/, ''), response, searchParams, left.signal)
  }
  answer().catch((error: unknown) => {
    if (left.signal.aborted) return
    const status = error instanceof HttpError ? error.status : 500
    response
      .writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', 'X-Content-Type-Options': 'nosniff' })
      .end(`${(error as Error).message}\n`)
  })
}

const isProfile = (name: string): name is ProfileName => Object.hasOwn(profiles, name)

/** As Go: what is no number of seconds counts as if it were not there. */
function secondsOf(query: URLSearchParams): number {
  const seconds = Number(query.get('seconds') ?? usualSeconds)
  if (!(seconds > 0)) return usualSeconds
  if (seconds > mostSeconds) throw new HttpError(400, "profile duration exceeds server's WriteTimeout")
  return seconds
}

function sendIndex(response: ServerResponse): void {
  const rows = Object.entries({ ...profiles, cmdline: 'the command line of this process' }).map(
    ([name, text]) => `<li><a href="${name}">${name}</a>: ${text}</li>\n`,
  )
  response
    .writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'X-Content-Type-Options': 'nosniff' })
    .end(`<!doctype html>\n<title>/debug/pprof/</title>\n<ul>\n${rows.join('')}</ul>\n`)
}
