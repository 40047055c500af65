// Whom a token belongs to and what a user may, by the API server's word; remembered for a while.
import type { KubeClient } from '@nodelet/kube-client'
import type { TokenReview } from 'kubernetes-types/authentication/v1.d.ts'
import type { SubjectAccessReview } from 'kubernetes-types/authorization/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { User } from './user.ts'

export interface Reviews {
  /** Undefined for a token that nobody has. @throws Error when the API server does not answer */
  userOf(token: string, signal: AbortSignal): Promise<User | undefined>
  /** Whether the user may do this with the node's subresource. @throws Error when the API server does not answer */
  isAllowed(user: User, verb: string, subresource: string, signal: AbortSignal): Promise<boolean>
}

export interface ReviewOptions {
  client: Pick<KubeClient, 'raw'>
  nodeName: string
  /** KubeletConfiguration `authentication.webhook.enabled`: without it no token is anybody's. Default true. */
  tokens?: boolean
  /** KubeletConfiguration `authentication.webhook.cacheTTL`, in milliseconds. */
  tokenTtlMs: number
  /** `authorization.webhook.cacheAuthorizedTTL` and `cacheUnauthorizedTTL`, in milliseconds. */
  allowedTtlMs: number
  deniedTtlMs: number
  clock: Pick<Clock, 'now'>
}

const most = 1024

export function createReviews(options: ReviewOptions): Reviews {
  const { client, nodeName, tokens = true, tokenTtlMs, allowedTtlMs, deniedTtlMs, clock } = options
  const users = createCache<User | undefined>(clock)
  const verdicts = createCache<boolean>(clock)

  const ask = async <T>(path: string, body: T, signal: AbortSignal): Promise<T> => {
    const answer = await client.raw({
      method: 'POST',
      path,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal,
    })
    return JSON.parse(await answer.body.text()) as T
  }

  return {
    async userOf(token, signal) {
      if (!tokens) return undefined
      const known = users.get(token)
      if (known) return known.value
      const review: TokenReview = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token } }
      const { status } = await ask('/apis/authentication.k8s.io/v1/tokenreviews', review, signal)
      const { username, groups = [], uid, extra } = status?.user ?? {}
      const user =
        status?.authenticated && username
          ? { name: username, groups, ...(uid && { uid }), ...(extra && { extra }) }
          : undefined
      return users.put(token, user, tokenTtlMs)
    },
    async isAllowed(user, verb, subresource, signal) {
      const key = JSON.stringify([user, verb, subresource])
      const known = verdicts.get(key)
      if (known) return known.value
      const { name, groups, uid, extra } = user
      const review: SubjectAccessReview = {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        spec: {
          user: name,
          groups: [...groups],
          ...(uid && { uid }),
          ...(extra && { extra }),
          resourceAttributes: { verb, version: 'v1', resource: 'nodes', name: nodeName, subresource },
        },
      }
      const { status } = await ask('/apis/authorization.k8s.io/v1/subjectaccessreviews', review, signal)
      const allowed = status?.allowed ?? false
      return verdicts.put(key, allowed, allowed ? allowedTtlMs : deniedTtlMs)
    },
  }
}

/** Holds so many; the oldest goes first. */
function createCache<Value>(clock: Pick<Clock, 'now'>) {
  const entries = new Map<string, { value: Value; untilMs: number }>()
  return {
    get(key: string): { value: Value } | undefined {
      const entry = entries.get(key)
      return entry && clock.now() < entry.untilMs ? entry : undefined
    },
    put(key: string, value: Value, ttlMs: number): Value {
      entries.delete(key)
      if (entries.size >= most) entries.delete(entries.keys().next().value ?? '')
      entries.set(key, { value, untilMs: clock.now() + ttlMs })
      return value
    },
  }
}
