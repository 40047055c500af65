// Service account tokens of pods, kept until most of their life is over.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Logger } from '../log.ts'
import type { ObjectSource } from '../objects.ts'

const dayMs = 24 * 60 * 60 * 1000
const jitterMs = 10_000
const retryMs = 10_000

export interface Token {
  text: string
  /** Milliseconds since the epoch. */
  expiresAt: number
  /** When it should be replaced, in milliseconds since the epoch. */
  renewAt: number
}

interface Wanted {
  audience: string
  expirationSeconds: number
}

/** The tokens of all pods. */
export interface TokenCache {
  /** A token that is not due; while none can be had, one that has not expired. @throws what the source threw */
  get(pod: Pod, wanted: Wanted, signal?: AbortSignal): Promise<Token>
  forget(podUid: string): void
}

export function createTokenCache(
  objects: Pick<ObjectSource, 'token'>,
  clock: { now(): number },
  log: Logger,
): TokenCache {
  const pods = new Map<string, Map<string, Token>>()
  return {
    get: async (pod, wanted, signal) => {
      const { uid = '' } = pod.metadata ?? {}
      const tokens = pods.get(uid) ?? new Map<string, Token>()
      pods.set(uid, tokens)
      const key = JSON.stringify([pod.spec?.serviceAccountName, wanted.audience, wanted.expirationSeconds])
      const kept = tokens.get(key)
      const now = clock.now()
      if (kept && now < kept.renewAt) return kept
      try {
        const fresh = await request(objects, pod, wanted, clock, signal)
        tokens.set(key, fresh)
        return fresh
      } catch (error) {
        if (!kept || now >= kept.expiresAt) throw error
        log.warn({ err: error, pod: uid }, 'could not renew a service account token: the old one is kept')
        const again = { ...kept, renewAt: now + retryMs }
        tokens.set(key, again)
        return again
      }
    },
    forget: (podUid) => void pods.delete(podUid),
  }
}

async function request(
  objects: Pick<ObjectSource, 'token'>,
  { metadata, spec }: Pod,
  { audience, expirationSeconds }: Wanted,
  clock: { now(): number },
  signal?: AbortSignal,
): Promise<Token> {
  const { namespace = 'default', name = '', uid = '' } = metadata ?? {}
  const account = spec?.serviceAccountName ?? 'default'
  const boundObjectRef = { apiVersion: 'v1', kind: 'Pod', name, uid }
  const request = { audiences: audience ? [audience] : [], expirationSeconds, boundObjectRef }
  const asked = clock.now()
  const { token, expirationTimestamp } = await objects.token(namespace, account, request, signal)
  const expiresAt = Date.parse(expirationTimestamp)
  if (Number.isNaN(expiresAt)) {
    throw new Error(`token of service account ${namespace}/${account} has no readable expirationTimestamp`)
  }
  const life = expiresAt - asked
  const renewAt = asked + Math.min(life * 0.8, dayMs) - Math.random() * Math.min(jitterMs, life * 0.1)
  return { text: token, expiresAt, renewAt }
}
