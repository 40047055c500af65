// This node's object as others change it: labels, taints, ranges of addresses.
import { type Informer, type KubeClient, nodes, startInformer } from '@nodelet/kube-client'
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import type { Logger } from '../log.ts'

export interface NodeWatch {
  /** As last seen; undefined before it was. */
  get(): Node | undefined
  /** As the API server has it now. */
  read(signal: AbortSignal): Promise<Node>
  close(): Promise<void>
}

/** @param changed called with each version */
export function watchNode(client: KubeClient, nodeName: string, changed: (node: Node) => void, log: Logger): NodeWatch {
  const informer: Informer<Node> = startInformer(client, nodes, {
    fieldSelector: `metadata.name=${nodeName}`,
    onError: (error) => log.warn({ err: error }, 'watching this node'),
  })
  const tell = (node: Node): void => changed(node)
  informer.subscribe({ added: tell, updated: tell })
  return {
    get: () => informer.get({ name: nodeName }),
    read: async (signal) => client.get(nodes, { name: nodeName }, { signal }),
    close: async () => informer.stop(),
  }
}
