// `Watch`: what was read once is watched while it is in use.
import { type Informer, type KubeClient, type KubeObject, type Resource, startInformer } from '@nodelet/kube-client'
import { aborted } from '../aborted.ts'
import type { Clock } from '../clock.ts'
import { idleMs, type ObjectReader } from './reader.ts'

interface Watched {
  informer: Informer<KubeObject>
  usedMs: number
}

export interface WatchedReaderOptions {
  client: KubeClient
  changed(kind: string, namespace: string, name: string): void
  clock: Clock
  onError(error: unknown): void
}

export function watchedReader({ client, changed, clock, onError }: WatchedReaderOptions): ObjectReader {
  const watched = new Map<string, Watched>()

  const sweep = (): void => {
    for (const [key, { informer, usedMs }] of watched) {
      if (clock.now() - usedMs < idleMs) continue
      watched.delete(key)
      void informer.stop()
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
        informer.subscribe({ added: tell, updated: tell, deleted: tell })
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
      const key = `${resource.kind}/${namespace}/${name}`
      const entry = watched.get(key) ?? open(resource, namespace, name)
      entry.usedMs = clock.now()
      watched.set(key, entry)
      await aborted(entry.informer.synced, signal)
      return entry.informer.get({ namespace, name }) as T | undefined
    },
    async close() {
      await Promise.all([...watched.values()].map(async ({ informer }) => informer.stop()))
      watched.clear()
    },
  }
}
