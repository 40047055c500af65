// Requests that wait for their client, each under a secret that works once.
import { randomBytes } from 'node:crypto'
import { CriError } from '@nodelet/cri-api'

const MAX_WAITING = 1000

/** Requests by token. */
export interface Tokens<T> {
  /** @throws CriError RESOURCE_EXHAUSTED when too many wait. */
  add(request: T): string
  /** The request, once; undefined when the token is unknown, used or too old. */
  take(token: string): T | undefined
}

export function createTokens<T>(ttlMs: number, now: () => number = () => performance.now()): Tokens<T> {
  const waiting = new Map<string, { request: T; until: number }>() // in order of age: all live equally long
  const dropOld = (): void => {
    for (const [token, { until }] of waiting) {
      if (until > now()) return
      waiting.delete(token)
    }
  }
  return {
    add: (request) => {
      dropOld()
      if (waiting.size >= MAX_WAITING) {
        const hint = 'retry when clients have connected or a minute has passed'
        throw new CriError('RESOURCE_EXHAUSTED', `maximum number of in-flight requests exceeded: ${hint}`)
      }
      const token = randomBytes(6).toString('base64url')
      waiting.set(token, { request, until: now() + ttlMs })
      return token
    },
    take: (token) => {
      dropOld()
      const found = waiting.get(token)
      waiting.delete(token)
      return found?.request
    },
  }
}
