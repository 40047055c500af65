// `Get` and `Cache`: objects are asked for, each time or once in a while.
import { isNotFound, type KubeClient, type KubeObject, type Resource } from '@nodelet/kube-client'
import type { Clock } from '../clock.ts'
import { idleMs, mayReferTo, type ObjectReader } from './reader.ts'

export function freshReader(client: Pick<KubeClient, 'get'>): ObjectReader {
  return {
    tells: false,
    outdate: () => {},
    async read(resource, namespace, name, signal) {
      try {
        return await client.get(resource, { namespace, name }, { ...(signal && { signal }) })
      } catch (error) {
        if (isNotFound(error)) return undefined
        throw error
      }
    },
    close: async () => {},
  }
}

interface Cached {
  namespace: string
  name: string
  object: KubeObject
  readMs: number
  usedMs: number
  isFresh: boolean
}

/** What is missing is asked for each time; what was there stays when the server does not answer. */
export function cachedReader(
  fresh: Pick<ObjectReader, 'read'>,
  { ttlMs, clock }: { ttlMs(): number; clock: Clock },
): ObjectReader {
  const cache = new Map<string, Cached>()
  return {
    tells: false,
    outdate(pod) {
      for (const entry of cache.values()) if (mayReferTo(pod, entry.namespace, entry.name)) entry.isFresh = false
    },
    async read<T extends KubeObject>(resource: Resource<T>, namespace: string, name: string, signal?: AbortSignal) {
      const nowMs = clock.now()
      for (const [key, { usedMs }] of cache) if (nowMs - usedMs >= idleMs) cache.delete(key)
      const key = `${resource.kind}/${namespace}/${name}`
      const known = cache.get(key)
      if (known) known.usedMs = nowMs
      if (known?.isFresh && nowMs - known.readMs < ttlMs()) return known.object as T
      try {
        const object = await fresh.read(resource, namespace, name, signal)
        if (object) cache.set(key, { namespace, name, object, readMs: nowMs, usedMs: nowMs, isFresh: true })
        else cache.delete(key)
        return object
      } catch (error) {
        signal?.throwIfAborted()
        if (!known) throw error
        return known.object as T
      }
    },
    close: async () => {},
  }
}

const ttlAnnotation = 'node.alpha.kubernetes.io/ttl'

/** A controller tells large clusters to ask less often: in seconds; default one minute. */
export function ttlOf(node: KubeObject | undefined): number {
  const text = node?.metadata?.annotations?.[ttlAnnotation] ?? ''
  return /^\d+$/.test(text) ? Number(text) * 1000 : 60_000
}
