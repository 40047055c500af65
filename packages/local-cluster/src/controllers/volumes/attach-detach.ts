// Says which volumes are to be attached to nodes; attachers do it.
import { isAlreadyExists, isNotFound, mergePatch, nodes, volumeAttachments } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { VolumeAttachment } from 'kubernetes-types/storage/v1.d.ts'
import { sameJson } from '../../object.ts'
import type { ControllerContext } from '../caches.ts'
import { createRecorder, onlyOnce } from '../events.ts'
import { createQueue } from '../queue.ts'
import { attachmentSteps, isListed, wantedOn } from './attachments.ts'
import type { AttachmentFacts, Wanted } from './attachments.ts'
import { claimsOf } from './pod-claims.ts'

export function startAttachDetach({ client, caches, log }: ControllerContext): AsyncDisposable {
  const { nodes: nodeCache, pods, persistentVolumes: volumes, persistentVolumeClaims: claims } = caches
  const recorder = createRecorder(client, 'attachdetach-controller', log)
  const recordOnce = onlyOnce(recorder)
  const facts = (): AttachmentFacts => ({
    pods: pods.list(),
    claimOf: (namespace, name) => claims.get({ namespace, name }),
    volumeOf: (name) => volumes.get({ name }),
    drivers: caches.csiDrivers.list(),
    attachments: caches.volumeAttachments.list(),
    nodes: nodeCache.list(),
  })
  const attach = async (nodeName: string, name: string, { volume }: Wanted): Promise<void> => {
    const spec = {
      attacher: volume.spec?.csi?.driver ?? '',
      nodeName,
      source: { persistentVolumeName: volume.metadata?.name ?? '' },
    }
    const attachment: VolumeAttachment = {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'VolumeAttachment',
      metadata: { name },
      spec,
    }
    await client.create(volumeAttachments, attachment).catch((error: unknown) => {
      if (!isAlreadyExists(error)) throw error
    })
  }

  const work = async (nodeName: string): Promise<void> => {
    const node = nodeCache.get({ name: nodeName })
    const steps = attachmentSteps(nodeName, node, facts())
    for (const { name, wanted } of steps.attach) await attach(nodeName, name, wanted)
    for (const { volume, pods: waiting } of steps.busy) {
      const text = `Multi-Attach error for volume "${volume.metadata?.name}" Volume is already exclusively attached to one node and can't be attached to another`
      for (const pod of waiting) recordOnce(pod, 'Warning', 'FailedAttachVolume', text)
    }
    const before = node?.status?.volumesAttached ?? []
    const others = before.filter(({ name }) => !isListed(name))
    const volumesAttached = [...others, ...steps.attached.map((name) => ({ name, devicePath: '' }))]
    if (node && !sameJson(before, volumesAttached)) {
      await client.patch(nodes, { name: nodeName }, mergePatch({ status: { volumesAttached } }), {
        subresource: 'status',
      })
    }
    for (const { volume, pods: waiting } of steps.listed)
      for (const pod of waiting) tellAttached(pod, volume.metadata?.name)
    for (const { metadata } of steps.detach) {
      await client.delete(volumeAttachments, { name: metadata?.name ?? '' }).catch((error: unknown) => {
        if (!isNotFound(error)) throw error
      })
    }
    // A volume that is busy elsewhere is asked for again: nothing tells when the other node has let it go.
    if (steps.busy.length > 0) throw new Error(`volumes of node ${nodeName} are attached elsewhere`)
  }
  const queue = createQueue('attach-detach', work, log)

  const tellAttached = (pod: Pod, volume: string | undefined): void =>
    recorder.record(pod, 'Normal', 'SuccessfulAttachVolume', `AttachVolume.Attach succeeded for volume "${volume}" `)
  /** Tells pods what became of their attachment. */
  const told = (now: VolumeAttachment, before: VolumeAttachment): void => {
    const volume = now.spec.source.persistentVolumeName
    const pods = wantedOn(now.spec.nodeName, facts()).get(now.metadata?.name ?? '')?.pods ?? []
    const message = now.status?.attachError?.message
    for (const pod of pods) {
      if (now.status?.attached && !before.status?.attached) {
        tellAttached(pod, volume)
      } else if (message !== undefined && message !== before.status?.attachError?.message) {
        recorder.record(
          pod,
          'Warning',
          'FailedAttachVolume',
          `AttachVolume.Attach failed for volume "${volume}" : ${message}`,
        )
      }
    }
  }
  const ofPod = (pod: Pod): void => {
    const isAttached = claimsOf(pod).length > 0 || pod.spec?.volumes?.some(({ iscsi, fc }) => iscsi ?? fc)
    if (pod.spec?.nodeName && isAttached) queue.add(pod.spec.nodeName)
  }
  const ofAttachment = ({ spec }: VolumeAttachment): void => queue.add(spec.nodeName)
  const everywhere = (): void => pods.list().forEach(ofPod)
  const stops = [
    pods.subscribe({ added: ofPod, updated: ofPod, deleted: ofPod }),
    claims.subscribe({ updated: everywhere }),
    caches.csiDrivers.subscribe({ added: everywhere, updated: everywhere }),
    caches.volumeAttachments.subscribe({
      added: ofAttachment,
      updated: (now, before) => {
        ofAttachment(now)
        told(now, before)
      },
      deleted: ofAttachment,
    }),
    nodeCache.subscribe({
      updated: (node, before) => {
        if (!sameJson(node.status?.volumesInUse, before.status?.volumesInUse)) queue.add(node.metadata?.name ?? '')
      },
      deleted: (node) => queue.add(node.metadata?.name ?? ''),
    }),
  ]
  return {
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}
