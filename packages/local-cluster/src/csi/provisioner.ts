// Makes the volumes that claims ask for, and deletes those that nobody has any more.
import { CsiError } from '@nodelet/csi-node'
import {
  ConnectionError,
  isAlreadyExists,
  isNotFound,
  mergePatch,
  persistentVolumeClaims,
  persistentVolumes,
  StatusError,
} from '@nodelet/kube-client'
import type { PersistentVolume, PersistentVolumeClaim } from 'kubernetes-types/core/v1.d.ts'
import type { StorageClass } from 'kubernetes-types/storage/v1.d.ts'
import { provisionedBy, provisionerNames, selectedNode } from '../controllers/volumes/binding.ts'
import { classOf, isDelayed } from '../controllers/volumes/match.ts'
import { createRecorder, onlyOnce } from '../controllers/events.ts'
import { createQueue, keyOf, splitKey } from '../controllers/queue.ts'
import { type CsiContext, readSecretsOf, untilStopped } from './context.ts'
import type { ControllerDriver } from './drivers.ts'
import { deprovisionVolume, provisionerFinalizer, provisionVolume, volumeNameOf } from './provision.ts'
import { topologyRequirement } from './topology.ts'

/** The provisioner that a claim waits for; undefined: it does not, or not yet. Pure. */
export function wantedProvisioner(
  { metadata, spec }: PersistentVolumeClaim,
  volumeClass: StorageClass | undefined,
): string | undefined {
  const { annotations = {}, deletionTimestamp } = metadata ?? {}
  const named = provisionerNames.map((key) => annotations[key]).findLast((one) => one !== undefined)
  if (spec?.volumeName || deletionTimestamp || !volumeClass || named !== volumeClass.provisioner) return undefined
  if (isDelayed(volumeClass) && annotations[selectedNode] === undefined) return undefined
  return named
}

/** The driver that has to delete a volume; undefined: nobody, or not yet. Pure. */
export function deletingProvisioner({ metadata, spec, status }: PersistentVolume): string | undefined {
  const isReleased = status?.phase === 'Released' || status?.phase === 'Failed'
  // Deleted by somebody who did not wait for the claim to be gone.
  const isEnding =
    metadata?.deletionTimestamp && metadata.finalizers?.includes(provisionerFinalizer) && status?.phase !== 'Bound'
  if (spec?.persistentVolumeReclaimPolicy !== 'Delete' || !spec.csi || !(isReleased || isEnding)) return undefined
  const driver = metadata?.annotations?.[provisionedBy]
  return driver === spec.csi.driver ? driver : undefined
}

/** Whether a failure leaves nothing behind. */
const isOver = (error: unknown): boolean =>
  error instanceof CsiError
    ? error.kind !== 'uncertain'
    : !(error instanceof StatusError || error instanceof ConnectionError)

export function startProvisioner({ client, caches, drivers, log }: CsiContext): AsyncDisposable {
  const { persistentVolumes: volumes, persistentVolumeClaims: claims, storageClasses: classes } = caches
  const record = onlyOnce(createRecorder(client, 'external-provisioner', log))
  const { signal, stop } = untilStopped()
  const readSecret = readSecretsOf(client)
  /** What a driver may have made volumes for, by key: what was begun is ended, also when the claim is gone. */
  const begun = new Map<string, { claim: PersistentVolumeClaim; volumeClass: StorageClass }>()
  const classNamed = (claim: PersistentVolumeClaim): StorageClass | undefined => classes.get({ name: classOf(claim) })

  const topologyOf = (
    claim: PersistentVolumeClaim,
    volumeClass: StorageClass,
    { can, controller }: ControllerDriver,
  ) =>
    can.topology
      ? topologyRequirement({
          driver: controller.name,
          nodes: caches.nodes.list(),
          csiNodes: caches.csiNodes.list(),
          allowed: volumeClass.allowedTopologies ?? [],
          selectedNode: claim.metadata?.annotations?.[selectedNode],
        })
      : undefined

  /** The volume that a claim is to be a copy of. @throws Error when it can't be had */
  const sourceOf = (claim: PersistentVolumeClaim, { can, controller }: ControllerDriver): string | undefined => {
    const source = claim.spec?.dataSource
    if (!source) return undefined
    if (source.kind !== 'PersistentVolumeClaim') throw new Error(`${source.kind} is not a source of volumes here`)
    if (!can.clone) throw new Error('CSI driver does not support clone operations: pvc clone is not supported')
    const namespace = claim.metadata?.namespace ?? ''
    const sourceClaim = claims.get({ namespace, name: source.name })
    if (!sourceClaim) throw new Error(`persistentvolumeclaim "${source.name}" not found`)
    const { volumeName, volumeMode } = sourceClaim.spec ?? {}
    if (volumeMode !== claim.spec?.volumeMode)
      throw new Error(
        `the source PVC ${source.name} has volume mode ${volumeMode}, and its copy ${claim.spec?.volumeMode}`,
      )
    const csi = volumeName === undefined ? undefined : volumes.get({ name: volumeName })?.spec?.csi
    if (!csi) throw new Error(`the source PVC ${source.name} is not bound to a volume of a CSI driver`)
    if (csi.driver !== controller.name)
      throw new Error(`the source volume is of driver ${csi.driver}, not of ${controller.name}`)
    return csi.volumeHandle
  }

  const make = async (
    claim: PersistentVolumeClaim,
    volumeClass: StorageClass,
    driver: ControllerDriver,
  ): Promise<void> => {
    const { controller, can } = driver
    const noting: ControllerDriver['controller'] = {
      ...controller,
      createVolume: async (request, at) => {
        begun.set(keyOf(claim), { claim, volumeClass })
        return controller.createVolume(request, at)
      },
    }
    const topology = topologyOf(claim, volumeClass, driver)
    const sourceVolumeId = sourceOf(claim, driver)
    const request = { claim, volumeClass, topology, sourceVolumeId, readSecret }
    const volume = await provisionVolume({ can, controller: noting }, request, signal)
    await client.create(persistentVolumes, volume).catch((error: unknown) => {
      // A former run had made it, and was killed.
      if (!isAlreadyExists(error)) throw error
    })
  }

  const provision = async (
    claim: PersistentVolumeClaim,
    volumeClass: StorageClass,
    driver: ControllerDriver,
  ): Promise<void> => {
    const { namespace, name } = claim.metadata ?? {}
    const doing = `External provisioner is provisioning volume for claim "${namespace}/${name}"`
    record(claim, 'Normal', 'Provisioning', doing)
    try {
      await make(claim, volumeClass, driver)
    } catch (error) {
      if (signal.aborted) throw error
      const text = `failed to provision volume with StorageClass "${volumeClass.metadata?.name}": ${(error as Error).message}`
      record(claim, 'Warning', 'ProvisioningFailed', text)
      if (isOver(error)) begun.delete(keyOf(claim))
      return reschedule(claim, driver, error)
    }
    begun.delete(keyOf(claim))
    record(claim, 'Normal', 'ProvisioningSucceeded', `Successfully provisioned volume ${volumeNameOf(claim)}`)
  }

  /** Where there is no room for it the scheduler chooses again; all else is tried again. @throws the error */
  const reschedule = async (claim: PersistentVolumeClaim, { can }: ControllerDriver, error: unknown): Promise<void> => {
    const { namespace = '', name = '', resourceVersion, annotations } = claim.metadata ?? {}
    const isFull = error instanceof CsiError && error.code === 'RESOURCE_EXHAUSTED'
    if (!isFull || !can.topology || annotations?.[selectedNode] === undefined) throw error
    begun.delete(keyOf(claim))
    const patch = mergePatch({ metadata: { resourceVersion, annotations: { [selectedNode]: null } } })
    await client.patch(persistentVolumeClaims, { namespace, name }, patch)
  }

  const remove = async (volume: PersistentVolume, driver: ControllerDriver): Promise<void> => {
    const name = volume.metadata?.name ?? ''
    const attached = caches.volumeAttachments.list().find(({ spec }) => spec.source.persistentVolumeName === name)
    try {
      if (attached) throw new Error(`persistentvolume ${name} is still attached to node ${attached.spec.nodeName}`)
      await deprovisionVolume(driver, volume, readSecret, signal)
    } catch (error) {
      if (!signal.aborted) record(volume, 'Warning', 'VolumeFailedDelete', (error as Error).message)
      throw error
    }
    try {
      await client.delete(persistentVolumes, { name })
      const now = await client.get(persistentVolumes, { name })
      const { resourceVersion, finalizers = [] } = now.metadata ?? {}
      const others = finalizers.filter((one) => one !== provisionerFinalizer)
      await client.patch(persistentVolumes, { name }, mergePatch({ metadata: { resourceVersion, finalizers: others } }))
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }

  /** What a claim is to have a volume of; of one that is gone, what was begun for it. */
  const wantedBy = (key: string): { claim: PersistentVolumeClaim; volumeClass: StorageClass } | undefined => {
    const claim = claims.get(splitKey(key))
    const left = begun.get(key)
    if (left && left.claim.metadata?.uid !== claim?.metadata?.uid) return left
    const volumeClass = claim && classNamed(claim)
    return volumeClass && wantedProvisioner(claim, volumeClass) !== undefined ? { claim, volumeClass } : undefined
  }
  const workOnClaim = async (key: string): Promise<void> => {
    const wanted = wantedBy(key)
    if (!wanted) return
    if (volumes.get({ name: volumeNameOf(wanted.claim) })) {
      begun.delete(key)
      return
    }
    const driver = await drivers(wanted.volumeClass.provisioner, signal)
    if (driver?.can.createDelete) await provision(wanted.claim, wanted.volumeClass, driver)
  }
  const work = async (key: string): Promise<void> => {
    const { namespace, name } = splitKey(key)
    if (namespace !== '') return workOnClaim(key)
    const volume = volumes.get({ name })
    const wanted = volume && deletingProvisioner(volume)
    const driver = wanted === undefined ? undefined : await drivers(wanted, signal)
    if (volume && driver?.can.createDelete) await remove(volume, driver)
  }
  const queue = createQueue('csi-provisioner', work, log)
  const add = (object: PersistentVolume | PersistentVolumeClaim): void => queue.add(keyOf(object))
  /** A driver came. */
  const again = (): void => {
    for (const claim of claims.list()) if (wantedProvisioner(claim, classNamed(claim)) !== undefined) add(claim)
    for (const volume of volumes.list()) if (deletingProvisioner(volume) !== undefined) add(volume)
  }
  const stops = [
    claims.subscribe({ added: add, updated: add, deleted: add }),
    volumes.subscribe({ added: add, updated: add }),
    classes.subscribe({ added: again }),
    caches.csiNodes.subscribe({ added: again, updated: again }),
    caches.volumeAttachments.subscribe({ deleted: again }),
  ]
  return {
    [Symbol.asyncDispose]: async () => {
      for (const end of stops) end()
      stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}
