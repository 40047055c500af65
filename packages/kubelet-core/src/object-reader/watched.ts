// `Watch`: what was read once is watched while it is in use.
import { type Informer, type KubeClient, type KubeObject, type Resource, startInformer } from '@nodelet/kube-client'
import { aborted } from '../aborted.ts'
import type { Clock } from '../clock.ts'
import type { ReferredObject } from '../objects.ts'
import { idleMs, type ObjectReader } from './reader.ts'

interface Watched {
  informer: Informer<KubeObject>
  usedMs: number
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
      watched.delete(key)
      void entry.informer.stop()
    }
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
          // It stays as it is for as long as it is in use: there is nothing to watch.
          if (object.immutable === true) void informer.stop()
          tell()
        }
        informer.subscribe({ added: look, updated: look, deleted: tell })
        first = false
      },
      () => undefined, // stopped before its first list
    )
    return { informer: informer as Informer<KubeObject>, usedMs: clock.now() }
  }

  return {
    tells: true,
    outdate: () => {},
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
