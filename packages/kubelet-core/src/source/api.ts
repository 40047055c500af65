// Pods that the API server assigned to this node.
import { type Informer, type KubeClient, pods, startInformer } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { type Logger, silentLogger } from '../log.ts'
import { seenAnnotation, sourceAnnotation } from '../pod/labels.ts'
import { isMirror } from './merge.ts'
import type { PodSource } from './source.ts'

export interface ApiSourceOptions {
  client: KubeClient
  nodeName: string
  log?: Logger
}

/** Pods as from this source, whatever their annotations say; mirrors as they are. The same pod gives the same copy. */
function createMarker(): (all: readonly Pod[]) => Pod[] {
  const copies = new WeakMap<Pod, Pod>()
  const seen = new Map<string, string>()
  const copyOf = (pod: Pod): Pod => {
    if (isMirror(pod)) return pod
    const known = copies.get(pod)
    if (known) return known
    const { metadata } = pod
    const uid = metadata?.uid ?? ''
    const firstSeen = seen.get(uid) ?? new Date().toISOString()
    seen.set(uid, firstSeen)
    const own = { [sourceAnnotation]: 'api', [seenAnnotation]: firstSeen }
    const copy = { ...pod, metadata: { ...metadata, annotations: { ...metadata?.annotations, ...own } } }
    copies.set(pod, copy)
    return copy
  }
  return (all) => {
    if (seen.size > all.length) {
      const present = new Set(all.map(({ metadata }) => metadata?.uid ?? ''))
      for (const uid of seen.keys()) if (!present.has(uid)) seen.delete(uid)
    }
    return all.map(copyOf)
  }
}

/** Lists and watches the pods of this node; mirrors of static pods are among them. */
export function apiSource({ client, nodeName, log = silentLogger }: ApiSourceOptions): PodSource {
  const mark = createMarker()
  let informer: Informer<Pod> | undefined
  return {
    name: 'api',
    async start(changed) {
      const following = startInformer(client, pods, {
        fieldSelector: `spec.nodeName=${nodeName}`,
        onError: (error) => log.warn({ err: error }, 'watching pods'),
      })
      informer = following
      // The informer lists again by itself until it can; close ends the wait.
      following.synced.then(
        () => {
          let telling = false
          const tell = (): void => {
            // All changes of one tick are one set.
            if (telling) return
            telling = true
            queueMicrotask(() => {
              telling = false
              changed(mark(following.list()))
            })
          }
          following.subscribe({ added: tell, updated: tell, deleted: tell })
          tell()
        },
        () => undefined, // stopped before the first list: there is nobody to tell
      )
    },
    close: async () => informer?.stop(),
  }
}
