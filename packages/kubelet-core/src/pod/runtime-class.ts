// The runtime handler that a pod's RuntimeClass names.
import { defineResource, type KubeClient } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { RuntimeClass } from 'kubernetes-types/node/v1.d.ts'

const runtimeClasses = defineResource<RuntimeClass>({
  group: 'node.k8s.io',
  version: 'v1',
  plural: 'runtimeclasses',
  kind: 'RuntimeClass',
  namespaced: false,
})

/** Empty for a pod without a class. @throws Error naming the class that cannot be had */
export async function handlerOf(client: Pick<KubeClient, 'get'> | undefined, { spec }: Pod): Promise<string> {
  const name = spec?.runtimeClassName
  if (!name) return ''
  try {
    if (!client) throw new Error('this kubelet has no API server to ask')
    return (await client.get(runtimeClasses, { name })).handler
  } catch (cause) {
    throw new Error(`failed to get runtime handler of RuntimeClass "${name}": ${(cause as Error).message}`, { cause })
  }
}
