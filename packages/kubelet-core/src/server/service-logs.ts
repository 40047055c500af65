// The logs of the node's services, from the journal or from their files below the log folder.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { LinuxError, type Program, startProgram } from '@nodelet/linux'
import { HttpError } from './http-error.ts'
import { isEmpty, journalArguments, type LogQuery } from './log-query.ts'
import { openBelow, sendOpened } from './system-logs.ts'

export interface ServiceLogs {
  /** Where files are looked for. */
  root: string
  /** Aborts when the client leaves. */
  signal: AbortSignal
  /** The program that reads the journal, with its first arguments; default `journalctl`. */
  journalctl?: readonly [string, ...string[]]
  /** How long the journal is read; default 30 s. */
  limitMs?: number
}

/** What a program may say of its own errors, in bytes. */
const mostErrorBytes = 4096

/** Answers as it reads: no log is ever in memory whole. @throws HttpError 406 for a file that is not there */
export async function serveLogQuery(
  { file, services, options }: LogQuery,
  { request, response }: { request: IncomingMessage; response: ServerResponse },
  { root, signal, journalctl = ['journalctl'], limitMs = 30_000 }: ServiceLogs,
): Promise<void> {
  if (file !== undefined) {
    const opened = await openBelow(root, file)
    if (!opened) throw new HttpError(406, `query: Invalid value: ${JSON.stringify([file])}: no such file or directory`)
    return sendOpened(response, opened)
  }
  const limited = AbortSignal.any([signal, AbortSignal.timeout(limitMs)])
  const pieces = Readable.from(logsOf({ services, options }, root, journalctl, limited), { objectMode: false })
  const isPacked = request.headers['accept-encoding'] === 'gzip'
  response.writeHead(200, {
    'Content-Type': 'text/plain; charset=utf-8',
    ...(isPacked && { 'Content-Encoding': 'gzip' }),
  })
  await (isPacked ? pipeline(pieces, createGzip({ level: 1 }), response) : pipeline(pieces, response))
}

/** Ends early when the signal aborts: what was read until then is an answer. */
async function* logsOf(
  { services, options }: LogQuery,
  root: string,
  journalctl: readonly [string, ...string[]],
  signal: AbortSignal,
): AsyncGenerator<Buffer | string, void> {
  const known = await unitsAmong(services, journalctl, signal)
  const files = services.filter((service) => !known.has(service))
  if (known.size > 0) yield* outputOf(journalctl, journalArguments([...known], options), signal)
  if (files.length > 0 && !isEmpty(options)) {
    yield `\noptions present and query resolved to log files for [${files.join(' ')}]\ntry without specifying options\n`
    return
  }
  for (const service of files) yield* fileOf(root, service, signal)
}

/** Those services that have written to the journal: it shows nothing of others, and no error either. */
async function unitsAmong(
  services: readonly string[],
  journalctl: readonly [string, ...string[]],
  signal: AbortSignal,
): Promise<Set<string>> {
  const found = new Set<string>()
  let begun = ''
  for await (const piece of outputOf(journalctl, ['--field=_SYSTEMD_UNIT'], signal)) {
    const units = (begun + piece.toString()).split('\n')
    begun = units.pop() ?? ''
    for (const service of services) {
      if (units.includes(service) || units.includes(`${service}.service`)) found.add(service)
    }
  }
  return found
}

/** What a program writes, and after that what it says of errors. Nothing where there is no such program. */
async function* outputOf(
  [program, ...first]: readonly [string, ...string[]],
  args: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<Buffer, void> {
  const started = begin(program, [...first, ...args], signal)
  if (!started?.stdout || !started.stderr) return
  const complaints = beginningOf(started.stderr, mostErrorBytes)
  try {
    for await (const piece of started.stdout) yield piece as Buffer
    yield await complaints
  } finally {
    started.kill('SIGKILL')
  }
}

function begin(program: string, args: readonly string[], signal: AbortSignal): Program | undefined {
  if (signal.aborted) return undefined
  try {
    return startProgram(program, args, { stdio: ['ignore', 'pipe', 'pipe'], signal })
  } catch (error) {
    if (error instanceof LinuxError && error.code === 'ENOENT') return undefined
    throw error
  }
}

/** Reads to the end, lest the writer waits, and keeps the first bytes. */
async function beginningOf(stream: Readable, most: number): Promise<Buffer> {
  let kept = Buffer.alloc(0)
  try {
    for await (const piece of stream) if (kept.length < most) kept = Buffer.concat([kept, piece as Buffer])
  } catch {
    // What was said until it broke off is what there is to tell.
  }
  return kept.subarray(0, most)
}

/** As `NAME`, `NAME.log` or `NAME/NAME.log`, whichever is there first. */
async function* fileOf(root: string, service: string, signal: AbortSignal): AsyncGenerator<Buffer | string, void> {
  for (const path of [service, `${service}.log`, `${service}/${service}.log`]) {
    const opened = await openBelow(root, path)
    if (opened?.isFile) {
      for await (const piece of opened.handle.createReadStream()) {
        if (signal.aborted) return
        yield piece as Buffer
      }
      return
    }
    await opened?.handle.close()
  }
  yield `\nlog not found for ${service}\n`
}
