// A request that is answered by a status and a text.
import type { IncomingMessage } from 'node:http'

/** What went wrong, for the client. */
export class HttpError extends Error {
  override readonly name = 'HttpError'
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** @throws HttpError 400 */
export function urlOf({ url = '' }: Pick<IncomingMessage, 'url'>): URL {
  const parsed = URL.parse(url, 'http://kubelet')
  if (!parsed) throw new HttpError(400, 'the request has no valid path')
  return parsed
}
