// This node's object as others change it: labels, taints, ranges of addresses.
import { type Informer, type KubeClient, nodes, startInformer } from '@nodelet/kube-client'
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import type { Logger } from '../log.ts'

export interface NodeWatch {
  /** Nothing is asked before. */
  start(): void
  /** As last seen; undefined before it was. */
  get(): Node | undefined
  /** As the API server has it now. */
  read(signal: AbortSignal): Promise<Node>
  close(): Promise<void>
}

/** @param changed called with each version */
export function watchNode(client: KubeClient, nodeName: string, changed: (node: Node) => void, log: Logger): NodeWatch {
  let informer: Informer<Node> | undefined
  const tell = (node: Node): void => changed(node)
  return {
    start() {
      informer = startInformer(client, nodes, {
        fieldSelector: `metadata.name=${nodeName}`,
        onError: (error) => log.warn({ err: error }, 'watching this node'),
      })
      informer.subscribe({ added: tell, updated: tell })
    },
    get: () => informer?.get({ name: nodeName }),
    read: async (signal) => client.get(nodes, { name: nodeName }, { signal }),
    close: async () => informer?.stop(),
  }
}
