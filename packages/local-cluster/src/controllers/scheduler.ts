// Assigns pods to nodes.
import { mergePatch, persistentVolumeClaims, persistentVolumes, pods, strategicPatch } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { ControllerContext } from './caches.ts'
import { createRecorder } from './events.ts'
import { misfit, unschedulableMessage } from './fit.ts'
import { createQueue, keyOf, splitKey } from './queue.ts'
import { isOver } from './replicas.ts'
import { boundVolume, selectedNode } from './volumes/binding.ts'
import { claimsOf } from './volumes/pod-claims.ts'
import { planVolumes, volumesMissing } from './volumes/scheduling.ts'
import type { VolumeFacts, VolumePlan } from './volumes/scheduling.ts'

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

  const volumeFacts = (): VolumeFacts => ({
    claimOf: (namespace, name) => caches.persistentVolumeClaims.get({ namespace, name }),
    volumes: caches.persistentVolumes.list(),
    classes: caches.storageClasses.list(),
    csiNodes: caches.csiNodes.list(),
  })

  /** Says which volumes the pod's claims are to have, and where the others are to be made. */
  const prepareVolumes = async ({ bind, provision }: VolumePlan, node: string): Promise<void> => {
    for (const { claim, volume } of bind) {
      const bound = boundVolume(volume, claim)
      if (bound) await client.update(persistentVolumes, bound)
    }
    for (const { metadata } of provision) {
      if (metadata?.annotations?.[selectedNode] === node) continue
      const { namespace = '', name = '', resourceVersion } = metadata ?? {}
      const patch = mergePatch({ metadata: { resourceVersion, annotations: { [selectedNode]: node } } })
      await client.patch(persistentVolumeClaims, { namespace, name }, patch)
    }
  }

  const schedule = async (key: string): Promise<void> => {
    const pod = podCache.get(splitKey(key))
    if (!pod || !isPending(pod)) return
    const all = nodeCache.list()
    if (all.length === 0) return refuse(pod, unschedulableMessage(0, []))
    const facts = volumeFacts()
    const missing = volumesMissing(pod, facts)
    if (missing !== undefined) return refuse(pod, `0/${all.length} nodes are available: ${missing}.`)
    const nodeOf = (other: Pod): string | undefined => other.spec?.nodeName ?? assumed.get(other.metadata?.uid ?? '')
    const everywhere = podCache.list().filter((other) => nodeOf(other) !== undefined && !isOver(other))
    const judged = all.map((one) => {
      const here = everywhere.filter((other) => nodeOf(other) === one.metadata?.name)
      return misfit(pod, one, here) ?? planVolumes(pod, one, { everywhere, here }, facts)
    })
    const best = judged.findIndex((one) => typeof one !== 'string')
    const plan = judged[best]
    const node = all[best]?.metadata?.name
    if (node === undefined || typeof plan !== 'object') {
      const reasons = judged.filter((one) => typeof one === 'string')
      return refuse(pod, unschedulableMessage(all.length, reasons))
    }
    // The pod waits until they are bound: it is looked at again whenever a claim changes.
    if (plan.bind.length + plan.provision.length > 0) return prepareVolumes(plan, node)
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
  const againWithVolumes = (): void =>
    podCache.list().forEach((pod) => isPending(pod) && claimsOf(pod).length > 0 && queue.add(keyOf(pod)))
  const volumesChanged = { added: againWithVolumes, updated: againWithVolumes, deleted: againWithVolumes }
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
    caches.persistentVolumeClaims.subscribe(volumesChanged),
    caches.persistentVolumes.subscribe(volumesChanged),
    caches.storageClasses.subscribe(volumesChanged),
    caches.csiNodes.subscribe(volumesChanged),
  ]
  return {
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}
