// Assigns pods to nodes.
import { nodes, pods, startInformer, strategicPatch } from '@nodelet/kube-client'
import type { KubeClient } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Logger } from '../log.ts'
import { createRecorder } from './events.ts'
import { misfit, unschedulableMessage } from './fit.ts'
import { createQueue, keyOf, splitKey } from './queue.ts'

export async function startScheduler(client: KubeClient, log: Logger | undefined): Promise<AsyncDisposable> {
  await using starting = new AsyncDisposableStack()
  const onError = (error: unknown): void => log?.debug({ err: error }, 'scheduler watch failed')
  const podCache = starting.use(startInformer(client, pods, { onError }))
  const nodeCache = starting.use(startInformer(client, nodes, { onError }))
  const { record } = createRecorder(client, 'default-scheduler', log)
  /** Bound here, and not yet seen bound. */
  const assumed = new Map<string, string>()

  const isPending = (pod: Pod): boolean =>
    !pod.spec?.nodeName &&
    !pod.metadata?.deletionTimestamp &&
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

  const queue = starting.use(createQueue('scheduler', schedule, log))
  const again = (): void => podCache.list().forEach((pod) => isPending(pod) && queue.add(keyOf(pod)))
  await nodeCache.synced
  podCache.subscribe({
    added: (pod) => isPending(pod) && queue.add(keyOf(pod)),
    updated: (pod) => {
      if (pod.spec?.nodeName) assumed.delete(pod.metadata?.uid ?? '')
      else if (isPending(pod)) queue.add(keyOf(pod))
    },
    deleted: (pod) => {
      assumed.delete(pod.metadata?.uid ?? '')
      again() // there is room now
    },
  })
  nodeCache.subscribe({ added: again, updated: again })
  const running = starting.move()
  return { [Symbol.asyncDispose]: async () => running.disposeAsync() }
}
