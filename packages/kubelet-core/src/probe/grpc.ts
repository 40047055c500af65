// gRPC health checks over HTTP/2: one unary call of grpc.health.v1.Health/Check.
import { connect, constants } from 'node:http2'
import type { ClientHttp2Session, IncomingHttpHeaders } from 'node:http2'
import type { Attempt } from './attempt.ts'
import { dialError } from './dial-error.ts'
import { joinHostPort } from './port.ts'

const statuses = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN']
const serving = 1
const unimplemented = 12
const deadlineExceeded = 4
const longestAnswer = 64 * 1024

export async function probeGrpc(
  { host, port, service }: { host: string; port: number; service: string },
  { timeoutMs, userAgent, signal }: { timeoutMs: number; userAgent: string; signal: AbortSignal },
): Promise<Attempt> {
  const address = joinHostPort(host, port)
  const deadline = AbortSignal.timeout(timeoutMs)
  const ended = AbortSignal.any([signal, deadline])
  const session = connect(`http://${address}`)
  const fail = (message: string): Attempt => ({ status: 'failure', message })
  try {
    await connected(session, ended)
    return verdict(await check(session, service, userAgent, ended), timeoutMs)
  } catch (error) {
    signal.throwIfAborted()
    if (!deadline.aborted) return fail(`error: failed to connect service at "${address}": ${dialError(error, address)}`)
    return session.connecting
      ? fail(`timeout: failed to connect service "${address}" within ${timeoutMs / 1000}s: context deadline exceeded`)
      : fail(`timeout: health rpc did not complete within ${timeoutMs / 1000}s: context deadline exceeded`)
  } finally {
    session.destroy()
  }
}

/** Leaves a listener for errors, so that none is thrown after the promise has settled. */
function connected(session: ClientHttp2Session, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
    session.on('error', reject)
    session.once('connect', () => resolve())
  })
}

interface Answer {
  /** gRPC status code. */
  code: number
  details: string
  message: Buffer
}

function check(session: ClientHttp2Session, service: string, userAgent: string, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request(
      {
        [constants.HTTP2_HEADER_METHOD]: 'POST',
        [constants.HTTP2_HEADER_PATH]: '/grpc.health.v1.Health/Check',
        'content-type': 'application/grpc',
        'user-agent': userAgent,
        te: 'trailers',
      },
      { signal },
    )
    let status: IncomingHttpHeaders = {}
    const chunks: Buffer[] = []
    const take = (headers: IncomingHttpHeaders): void => {
      status = { ...status, ...headers }
    }
    stream.on('response', take)
    stream.on('trailers', take)
    stream.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      if (chunks.reduce((sum, { length }) => sum + length, 0) > longestAnswer)
        stream.destroy(new Error('answer too long'))
    })
    stream.on('error', reject)
    stream.on('end', () => {
      const code = status['grpc-status']
      const details = String(status['grpc-message'] ?? '')
      if (code === undefined) return reject(new Error(`no gRPC server: HTTP status ${String(status[':status'])}`))
      return resolve({ code: Number(code), details: safeDecode(details), message: Buffer.concat(chunks).subarray(5) })
    })
    stream.end(frame(service))
  })
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // Not percent-encoded as gRPC asks: shown as it came.
    return text
  }
}

/** HealthCheckRequest { string service = 1 } with the five bytes before each gRPC message. */
function frame(service: string): Buffer {
  const text = Buffer.from(service)
  if (text.length > 0x3fff) throw new Error('the name of the service is too long')
  const length = text.length < 0x80 ? [text.length] : [(text.length & 0x7f) | 0x80, text.length >> 7]
  const message = text.length === 0 ? text : Buffer.concat([Buffer.from([0x0a, ...length]), text])
  const head = Buffer.alloc(5)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}

function verdict({ code, details, message }: Answer, timeoutMs: number): Attempt {
  const fail = (text: string): Attempt => ({ status: 'failure', message: text })
  if (code === unimplemented) {
    return fail(`error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ${details}`)
  }
  if (code === deadlineExceeded) {
    return fail(`timeout: health rpc did not complete within ${timeoutMs / 1000}s: ${details}`)
  }
  if (code !== 0) return fail(`error: health rpc probe failed: rpc error: code = ${code} desc = ${details}`)
  // HealthCheckResponse { ServingStatus status = 1 }; nothing at all is status 0.
  const status = message[0] === 0x08 ? (message[1] ?? 0) : 0
  if (status === serving) return { status: 'success', message: 'service healthy' }
  return fail(`service unhealthy (responded with "${statuses[status] ?? status}")`)
}
