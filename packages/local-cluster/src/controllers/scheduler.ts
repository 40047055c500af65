// Assigns pods to nodes.
import { pods, strategicPatch } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { ControllerContext } from './caches.ts'
import { createRecorder } from './events.ts'
import { misfit, unschedulableMessage } from './fit.ts'
import { createQueue, keyOf, splitKey } from './queue.ts'
import { isOver } from './replicas.ts'

export function startScheduler({ client, caches, log }: ControllerContext): AsyncDisposable {
  const { pods: podCache, nodes: nodeCache } = caches
  const { record } = createRecorder(client, 'default-scheduler', log)
  /** Bound here, and not yet seen bound. */
  const assumed = new Map<string, string>()

  const isPending = (pod: Pod): boolean =>
    !pod.spec?.nodeName &&
    !pod.metadata?.deletionTimestamp &&
    !isOver(pod) &&
    !pod.spec?.schedulingGates?.length &&
    (pod.spec?.schedulerName ?? 'default-scheduler') === 'default-scheduler' &&
    !assumed.has(pod.metadata?.uid ?? '')

  const schedule = async (key: string): Promise<void> => {
    const pod = podCache.get(splitKey(key))
    if (!pod || !isPending(pod)) return
    const all = nodeCache.list()
    const nodeOf = (other: Pod): string | undefined => other.spec?.nodeName ?? assumed.get(other.metadata?.uid ?? '')
    const everyone = podCache.list()
    const reasons = all.map((node) =>
      misfit(
        pod,
        node,
        everyone.filter((other) => nodeOf(other) === node.metadata?.name),
      ),
    )
    const node = all[reasons.indexOf(undefined)]?.metadata?.name
    if (node === undefined)
      return refuse(
        pod,
        unschedulableMessage(
          all.length,
          reasons.filter((one) => one !== undefined),
        ),
      )
    const { name = '', namespace = '', uid = '' } = pod.metadata ?? {}
    assumed.set(uid, node)
    try {
      const binding = {
        apiVersion: 'v1',
        kind: 'Binding',
        metadata: { name, namespace, uid },
        target: { kind: 'Node', name: node },
      }
      const answer = await client.raw({
        method: 'POST',
        path: `/api/v1/namespaces/${namespace}/pods/${name}/binding`,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(binding),
      })
      await answer.body.text()
    } catch (error) {
      assumed.delete(uid)
      throw error
    }
    record(pod, 'Normal', 'Scheduled', `Successfully assigned ${namespace}/${name} to ${node}`)
  }

  const refuse = async (pod: Pod, message: string): Promise<void> => {
    const before = pod.status?.conditions?.find(({ type }) => type === 'PodScheduled')
    if (before?.status === 'False' && before.message === message) return
    const { name = '', namespace = '' } = pod.metadata ?? {}
    const condition = {
      type: 'PodScheduled',
      status: 'False',
      reason: 'Unschedulable',
      message,
      lastTransitionTime: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
    }
    await client.patch(pods, { namespace, name }, strategicPatch({ status: { conditions: [condition] } }), {
      subresource: 'status',
    })
    record(pod, 'Warning', 'FailedScheduling', message)
  }

  const queue = createQueue('scheduler', schedule, log)
  const again = (): void => podCache.list().forEach((pod) => isPending(pod) && queue.add(keyOf(pod)))
  const stops = [
    podCache.subscribe({
      added: (pod) => isPending(pod) && queue.add(keyOf(pod)),
      updated: (pod, before) => {
        if (isOver(pod) && !isOver(before)) again() // what it had is free now
        if (pod.spec?.nodeName) assumed.delete(pod.metadata?.uid ?? '')
        else if (isPending(pod)) queue.add(keyOf(pod))
      },
      deleted: (pod) => {
        assumed.delete(pod.metadata?.uid ?? '')
        again() // there is room now
      },
    }),
    nodeCache.subscribe({ added: again, updated: again }),
  ]
  return {
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}
