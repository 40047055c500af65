// A claim → a volume of a CSI driver, and back. Both may be done again after a kill at any point.
import type { VolumeCapability } from '@nodelet/csi-node'
import { accessMode } from '@nodelet/csi-node'
import type { TopologyRequirement } from '@nodelet/csi-node/controller'
import type { PersistentVolume, PersistentVolumeClaim, SecretReference } from 'kubernetes-types/core/v1.d.ts'
import type { StorageClass } from 'kubernetes-types/storage/v1.d.ts'
import { provisionedBy } from '../controllers/volumes/binding.ts'
import { quantity } from '../kinds/quantity.ts'
import type { ControllerDriver } from './drivers.ts'
import { parseParameters } from './parameters.ts'
import { nodeAffinityOf } from './topology.ts'

/** Keeps a PersistentVolume until the driver has deleted its volume. */
export const provisionerFinalizer = 'external-provisioner.volume.kubernetes.io/finalizer'
const deletionSecret = 'volume.kubernetes.io/provisioner-deletion-secret'

/** Reads a secret's data as text. */
export type ReadSecret = (reference: Required<SecretReference>) => Promise<Readonly<Record<string, string>>>

export const volumeNameOf = ({ metadata }: PersistentVolumeClaim): string => `pvc-${metadata?.uid ?? ''}`

/** How a volume is used, once for each access mode. */
export function capabilitiesFor(
  { accessModes = [], volumeMode }: { accessModes?: string[]; volumeMode?: string },
  { can }: ControllerDriver,
  { fsType = '', mountFlags = [] }: { fsType?: string; mountFlags?: readonly string[] } = {},
): VolumeCapability[] {
  return accessModes.map((mode) => {
    const asked = accessMode([mode], can)
    return volumeMode === 'Block'
      ? { volumeMode, accessMode: asked }
      : { volumeMode: 'Filesystem', accessMode: asked, fsType, mountFlags }
  })
}

export interface ProvisionRequest {
  claim: PersistentVolumeClaim
  volumeClass: StorageClass
  /** Where it may be; undefined: the driver's volumes are everywhere, or it knows. */
  topology?: TopologyRequirement | undefined
  /** The volume that it is to be a copy of. */
  sourceVolumeId?: string | undefined
  readSecret: ReadSecret
}

/**
 * Has the driver make a claim's volume. The same claim again gives the same volume.
 * @returns the PersistentVolume that is to be written
 * @throws CsiError of the driver; Error naming what is wrong
 */
export async function provisionVolume(
  driver: ControllerDriver,
  { claim, volumeClass, topology, sourceVolumeId, readSecret }: ProvisionRequest,
  signal: AbortSignal,
): Promise<PersistentVolume> {
  const { controller } = driver
  const name = volumeNameOf(claim)
  const { parameters, fsType, secrets } = parseParameters(volumeClass.parameters ?? {}, name, claim)
  const requiredBytes = Math.ceil(quantity(claim.spec?.resources?.requests?.storage))
  const mountOptions = volumeClass.mountOptions ?? []
  const provisionerSecret = secrets.provisioner && (await readSecret(secrets.provisioner))
  const volume = await controller.createVolume(
    {
      name,
      requiredBytes,
      capabilities: capabilitiesFor(claim.spec ?? {}, driver, { fsType, mountFlags: mountOptions }),
      parameters,
      topology,
      sourceVolumeId,
      secrets: provisionerSecret,
    },
    signal,
  )
  const wrong = mismatch(volume, requiredBytes, sourceVolumeId)
  if (wrong !== undefined) {
    await controller.deleteVolume({ volumeId: volume.volumeId, secrets: provisionerSecret }, signal)
    throw new Error(wrong)
  }
  const { namespace = '', name: claimName = '', uid = '', resourceVersion = '' } = claim.metadata ?? {}
  const affinity = driver.can.topology ? nodeAffinityOf(volume.topology) : undefined
  const reclaimPolicy = volumeClass.reclaimPolicy ?? 'Delete'
  const isFilesystem = claim.spec?.volumeMode !== 'Block'
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: {
      name,
      annotations: {
        [provisionedBy]: controller.name,
        [`${deletionSecret}-name`]: secrets.provisioner?.name ?? '',
        [`${deletionSecret}-namespace`]: secrets.provisioner?.namespace ?? '',
      },
      ...(reclaimPolicy === 'Delete' && { finalizers: [provisionerFinalizer] }),
    },
    spec: {
      accessModes: claim.spec?.accessModes ?? [],
      capacity: { storage: sizeText(volume.capacityBytes ?? requiredBytes) },
      claimRef: {
        kind: 'PersistentVolumeClaim',
        apiVersion: 'v1',
        namespace,
        name: claimName,
        uid,
        resourceVersion,
      },
      persistentVolumeReclaimPolicy: reclaimPolicy,
      storageClassName: volumeClass.metadata?.name ?? '',
      volumeMode: claim.spec?.volumeMode ?? 'Filesystem',
      ...(mountOptions.length > 0 && { mountOptions }),
      ...(affinity && { nodeAffinity: affinity }),
      csi: {
        driver: controller.name,
        volumeHandle: volume.volumeId,
        ...(isFilesystem && fsType !== '' && { fsType }),
        volumeAttributes: { ...volume.volumeContext },
        ...(secrets.controllerPublish && { controllerPublishSecretRef: secrets.controllerPublish }),
        ...(secrets.controllerExpand && { controllerExpandSecretRef: secrets.controllerExpand }),
        ...(secrets.nodeStage && { nodeStageSecretRef: secrets.nodeStage }),
        ...(secrets.nodePublish && { nodePublishSecretRef: secrets.nodePublish }),
        ...(secrets.nodeExpand && { nodeExpandSecretRef: secrets.nodeExpand }),
      },
    },
  }
}

/** What makes a volume that was made useless. */
function mismatch(
  volume: { capacityBytes: number | undefined; sourceVolumeId: string | undefined },
  requiredBytes: number,
  sourceVolumeId: string | undefined,
): string | undefined {
  if (volume.capacityBytes !== undefined && volume.capacityBytes < requiredBytes) {
    return `created volume capacity ${volume.capacityBytes} less than requested capacity ${requiredBytes}`
  }
  if (sourceVolumeId !== undefined && volume.sourceVolumeId !== sourceVolumeId) {
    return `volume content source missing: the driver did not copy volume ${sourceVolumeId}`
  }
  return undefined
}

/** Has the driver delete the volume of a PersistentVolume. Fine when it is gone. @throws CsiError of the driver */
export async function deprovisionVolume(
  { controller }: ControllerDriver,
  { metadata, spec }: PersistentVolume,
  readSecret: ReadSecret,
  signal: AbortSignal,
): Promise<void> {
  const [name, namespace] = ['name', 'namespace'].map((part) => metadata?.annotations?.[`${deletionSecret}-${part}`])
  const secrets = name && namespace ? await readSecret({ name, namespace }) : undefined
  await controller.deleteVolume({ volumeId: spec?.csi?.volumeHandle ?? '', secrets }, signal)
}

const binaryUnits = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi']

/** Bytes as a quantity, exact: in the largest binary unit that divides them. */
export function sizeText(bytes: number): string {
  let [rest, unit] = [bytes, 0]
  while (rest > 0 && rest % 1024 === 0 && unit < binaryUnits.length - 1) [rest, unit] = [rest / 1024, unit + 1]
  return `${rest}${binaryUnits[unit]}`
}
