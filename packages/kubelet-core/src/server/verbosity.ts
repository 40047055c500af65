// PUT /debug/flags/v: how much the log tells from now on.
import type { IncomingMessage } from 'node:http'
import { HttpError } from './http-error.ts'
import type { KubeletView } from './view.ts'

const mostBytes = 64

/** Sets what the body says. @returns the Go kubelet's answer. @throws HttpError */
export async function setVerbosity(
  request: IncomingMessage,
  { setVerbosity: set }: Pick<KubeletView, 'setVerbosity'>,
): Promise<string> {
  if (request.method !== 'PUT') throw new HttpError(406, 'unsupported http method')
  let body = ''
  for await (const piece of request.setEncoding('utf8')) {
    body += piece as string
    if (body.length > mostBytes) throw new HttpError(400, `error reading request body: more than ${mostBytes} bytes`)
  }
  if (!/^-?\d{1,9}$/.test(body)) {
    throw new HttpError(400, `failed set klog.logging.verbosity ${JSON.stringify(body)}: is not an integer`)
  }
  if (!set) throw new HttpError(501, 'the verbosity of this log cannot be changed')
  set(Number(body))
  return `successfully set klog.logging.verbosity to ${body}`
}
