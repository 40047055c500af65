// Pods that the API server assigned to this node.
import { type Informer, type KubeClient, pods, startInformer } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { type Logger, silentLogger } from '../log.ts'
import type { PodSource } from './source.ts'

export interface ApiSourceOptions {
  client: KubeClient
  nodeName: string
  log?: Logger
}

/** Lists and watches the pods of this node; mirrors of static pods are among them. */
export function apiSource({ client, nodeName, log = silentLogger }: ApiSourceOptions): PodSource {
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
              changed(following.list())
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
