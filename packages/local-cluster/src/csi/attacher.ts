// Attaches and detaches volumes through their drivers: what VolumeAttachments ask for.
import { CsiError } from '@nodelet/csi-node'
import type { CsiCode } from '@nodelet/csi-node'
import { isNotFound, listAll, mergePatch, persistentVolumes, volumeAttachments } from '@nodelet/kube-client'
import type { KubeObject, Resource } from '@nodelet/kube-client'
import type { PersistentVolume } from 'kubernetes-types/core/v1.d.ts'
import type { VolumeAttachment } from 'kubernetes-types/storage/v1.d.ts'
import { createQueue, keyOf, splitKey } from '../controllers/queue.ts'
import { timeNow } from '../object.ts'
import { type CsiContext, readSecretsOf, untilStopped } from './context.ts'
import type { ControllerDriver } from './drivers.ts'
import { capabilitiesFor } from './provision.ts'

/** Keeps an attachment, and its volume, until the driver has let it go. */
export const attacherFinalizer = (driver: string): string =>
  `external-attacher/${driver.replace(/[^a-zA-Z0-9-]/g, '-')}`
/** For a node that is gone when the volume is detached. */
const nodeIdNote = 'csi.alpha.kubernetes.io/node-id'

/** By number, as gRPC counts. */
const codes: readonly CsiCode[] = [
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
]

/** As VolumeAttachments tell it. Pure. */
export function volumeError(error: unknown): { time: string; message: string; errorCode?: number } {
  const number = error instanceof CsiError ? codes.indexOf(error.code) + 1 : 0
  return { time: timeNow(), message: (error as Error).message, ...(number > 0 && { errorCode: number }) }
}

/** What there is to do for an attachment. Pure. */
export function attachmentTask({ metadata, spec, status }: VolumeAttachment): 'attach' | 'detach' | 'nothing' {
  const isHeld = metadata?.finalizers?.includes(attacherFinalizer(spec.attacher)) ?? false
  if (metadata?.deletionTimestamp) return isHeld ? 'detach' : 'nothing'
  return status?.attached ? 'nothing' : 'attach'
}

export function startAttacher({ client, caches, drivers, log }: CsiContext): AsyncDisposable {
  const { volumeAttachments: attachments, persistentVolumes: volumes, csiNodes } = caches
  const { signal, stop } = untilStopped()
  const readSecret = readSecretsOf(client)

  const writeStatus = async (attachment: VolumeAttachment, status: object): Promise<void> => {
    const ref = { name: attachment.metadata?.name ?? '' }
    await client.patch(volumeAttachments, ref, mergePatch({ status }), { subresource: 'status' })
  }
  const hold = async <T extends KubeObject>(
    resource: Resource<T>,
    object: T,
    finalizer: string,
    note: object = {},
  ): Promise<void> => {
    const { name = '', resourceVersion, finalizers = [] } = object.metadata ?? {}
    if (finalizers.includes(finalizer)) return
    const metadata = { resourceVersion, finalizers: [...finalizers, finalizer], annotations: note }
    await client.patch(resource, { name }, mergePatch({ metadata }))
  }
  /** Takes a finalizer off the object as it is now. */
  const letGo = async <T extends KubeObject>(resource: Resource<T>, name: string, finalizer: string): Promise<void> => {
    try {
      const { metadata } = await client.get(resource, { name })
      if (!metadata?.finalizers?.includes(finalizer)) return
      const finalizers = metadata.finalizers.filter((one) => one !== finalizer)
      await client.patch(
        resource,
        { name },
        mergePatch({ metadata: { resourceVersion: metadata.resourceVersion, finalizers } }),
      )
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }

  const secretOf = async ({ spec }: PersistentVolume): Promise<Readonly<Record<string, string>> | undefined> => {
    const { name, namespace } = spec?.csi?.controllerPublishSecretRef ?? {}
    return name && namespace ? readSecret({ name, namespace }) : undefined
  }

  const attach = async (
    attachment: VolumeAttachment,
    volume: PersistentVolume,
    driver: ControllerDriver,
  ): Promise<void> => {
    const csi = volume.spec?.csi
    const { attacher, nodeName } = attachment.spec
    if (csi?.driver !== attacher)
      throw new Error(`persistentvolume ${volume.metadata?.name} is not of driver ${attacher}`)
    if (volume.metadata?.deletionTimestamp) {
      throw new Error(`PersistentVolume "${volume.metadata.name}" is marked for deletion`)
    }
    if (!driver.can.publish) return writeStatus(attachment, { attached: true, attachError: null })
    const nodeId = csiNodes.get({ name: nodeName })?.spec.drivers.find(({ name }) => name === attacher)?.nodeID
    if (nodeId === undefined) throw new Error(`CSINode ${nodeName} does not contain driver ${attacher}`)
    const finalizer = attacherFinalizer(attacher)
    await hold(persistentVolumes, volume, finalizer)
    await hold(volumeAttachments, attachment, finalizer, { [nodeIdNote]: nodeId })
    const [capability] = capabilitiesFor(volume.spec ?? {}, driver, {
      fsType: csi.fsType ?? '',
      mountFlags: volume.spec?.mountOptions ?? [],
    })
    if (!capability) throw new Error(`persistentvolume ${volume.metadata?.name} has no access modes`)
    const attachmentMetadata = await driver.controller.publishVolume(
      {
        volumeId: csi.volumeHandle,
        nodeId,
        capability,
        readonly: driver.can.publishReadonly && (csi.readOnly ?? false),
        volumeContext: csi.volumeAttributes,
        secrets: await secretOf(volume),
      },
      signal,
    )
    await writeStatus(attachment, { attached: true, attachmentMetadata, attachError: null })
  }

  const detach = async (
    attachment: VolumeAttachment,
    volume: PersistentVolume | undefined,
    driver: ControllerDriver,
  ): Promise<void> => {
    const { attacher, nodeName } = attachment.spec
    const name = attachment.metadata?.name ?? ''
    const known = csiNodes.get({ name: nodeName })?.spec.drivers.find((one) => one.name === attacher)?.nodeID
    const nodeId = attachment.metadata?.annotations?.[nodeIdNote] ?? known
    if (volume?.spec?.csi && nodeId !== undefined) {
      const secrets = await secretOf(volume)
      await driver.controller.unpublishVolume({ volumeId: volume.spec.csi.volumeHandle, nodeId, secrets }, signal)
    }
    await writeStatus(attachment, { attached: false, detachError: null })
    await letGo(volumeAttachments, name, attacherFinalizer(attacher))
  }

  const work = async (key: string): Promise<void> => {
    const attachment = attachments.get({ name: splitKey(key).name })
    const task = attachment ? attachmentTask(attachment) : 'nothing'
    if (!attachment || task === 'nothing') return
    const driver = await drivers(attachment.spec.attacher, signal)
    if (!driver) return
    const volumeName = attachment.spec.source.persistentVolumeName
    const volume = volumeName === undefined ? undefined : volumes.get({ name: volumeName })
    try {
      if (task === 'detach') return await detach(attachment, volume, driver)
      if (!volume) throw new Error(`persistentvolume "${volumeName}" not found`)
      await attach(attachment, volume, driver)
    } catch (error) {
      if (!signal.aborted && !isNotFound(error)) {
        await writeStatus(attachment, { [`${task}Error`]: volumeError(error) }).catch(() => {}) // the queue has the first error
      }
      throw error
    }
  }
  const queue = createQueue('csi-attacher', work, log)

  /** A volume that ends is let go when it is attached nowhere. */
  const endVolume = async (key: string): Promise<void> => {
    const { metadata, spec } = volumes.get({ name: splitKey(key).name }) ?? {}
    const driver = spec?.csi?.driver ?? ''
    const [name, finalizer] = [metadata?.name ?? '', attacherFinalizer(driver)]
    if (!metadata?.deletionTimestamp || !metadata.finalizers?.includes(finalizer)) return
    if (!(await drivers(driver, signal))) return
    // The cache may not have the newest yet.
    const { items } = await listAll(client, volumeAttachments)
    if (items.some((one) => one.spec.source.persistentVolumeName === name)) return
    await letGo(persistentVolumes, name, finalizer)
  }
  const volumeQueue = createQueue('csi-attacher-volumes', endVolume, log)
  const ending = (volume: PersistentVolume): void => {
    if (volume.metadata?.deletionTimestamp) volumeQueue.add(keyOf(volume))
  }
  const add = (attachment: VolumeAttachment): void => {
    if (attachmentTask(attachment) !== 'nothing') queue.add(keyOf(attachment))
  }
  const again = (): void => attachments.list().forEach(add)
  const stops = [
    attachments.subscribe({
      added: add,
      updated: (now, before) => {
        // What was just written of a failure is no reason to try at once.
        if (attachmentTask(now) !== attachmentTask(before)) add(now)
      },
      deleted: ({ spec }) => volumeQueue.add(`/${spec.source.persistentVolumeName ?? ''}`),
    }),
    volumes.subscribe({ added: ending, updated: ending }),
    csiNodes.subscribe({ added: again, updated: again }),
  ]
  return {
    [Symbol.asyncDispose]: async () => {
      for (const end of stops) end()
      stop()
      await queue[Symbol.asyncDispose]()
      await volumeQueue[Symbol.asyncDispose]()
    },
  }
}
