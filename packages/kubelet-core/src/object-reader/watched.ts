// `Watch`: what was read once is watched while it is in use.
import { type Informer, type KubeClient, type KubeObject, type Resource, startInformer } from '@nodelet/kube-client'
import { aborted } from '../aborted.ts'
import type { Clock } from '../clock.ts'
import type { ReferredObject } from '../objects.ts'
import { idleMs, mayReferTo, type ObjectReader } from './reader.ts'

interface Watched {
  informer: Informer<KubeObject>
  usedMs: number
  namespace: string
  name: string
}

export interface WatchedReaderOptions {
  client: KubeClient
  changed(kind: string, namespace: string, name: string): void
  /** What is in use without being read. */
  shown(): Iterable<ReferredObject>
  clock: Clock
  onError(error: unknown): void
}

export function watchedReader({ client, changed, shown, clock, onError }: WatchedReaderOptions): ObjectReader {
  /** What was used last is last. */
  const watched = new Map<string, Watched>()
  /** Of those, what is immutable: there is nothing to watch until a pod comes, since another one may have its name by then. */
  const fixed = new Set<string>()

  const use = (key: string, entry: Watched): void => {
    entry.usedMs = clock.now()
    watched.delete(key)
    watched.set(key, entry)
  }
  const isIdle = ({ usedMs }: Watched): boolean => clock.now() - usedMs >= idleMs

  const sweep = (): void => {
    const [oldest] = watched.values()
    if (!oldest || !isIdle(oldest)) return
    for (const { kind, namespace, name } of shown()) {
      const key = keyOf(kind, namespace, name)
      const entry = watched.get(key)
      if (entry) use(key, entry)
    }
    for (const [key, entry] of watched) {
      if (!isIdle(entry)) return
      forget(key, entry)
    }
  }
  const forget = (key: string, { informer }: Watched): void => {
    watched.delete(key)
    fixed.delete(key)
    void informer.stop()
  }

  const open = <T extends KubeObject>(resource: Resource<T>, namespace: string, name: string): Watched => {
    const informer = startInformer(client, resource, { namespace, fieldSelector: `metadata.name=${name}`, onError })
    informer.synced.then(
      () => {
        // What the first list brings is no change.
        let first = true
        const tell = (): void => {
          if (!first) changed(resource.kind, namespace, name)
        }
        const look = (object: KubeObject & { immutable?: unknown }): void => {
          if (object.immutable === true) {
            fixed.add(keyOf(resource.kind, namespace, name))
            void informer.stop()
          }
          tell()
        }
        informer.subscribe({ added: look, updated: look, deleted: tell })
        first = false
      },
      () => undefined, // stopped before its first list
    )
    return { informer: informer as Informer<KubeObject>, usedMs: clock.now(), namespace, name }
  }

  return {
    tells: true,
    outdate(pod) {
      for (const key of fixed) {
        const entry = watched.get(key)
        if (entry && mayReferTo(pod, entry.namespace, entry.name)) forget(key, entry)
      }
    },
    async read<T extends KubeObject>(resource: Resource<T>, namespace: string, name: string, signal?: AbortSignal) {
      sweep()
      const key = keyOf(resource.kind, namespace, name)
      const entry = watched.get(key) ?? open(resource, namespace, name)
      use(key, entry)
      await aborted(entry.informer.synced, signal)
      return entry.informer.get({ namespace, name }) as T | undefined
    },
    async close() {
      await Promise.all([...watched.values()].map(async ({ informer }) => informer.stop()))
      watched.clear()
    },
  }
}

const keyOf = (kind: string, namespace: string, name: string): string => `${kind}/${namespace}/${name}`
