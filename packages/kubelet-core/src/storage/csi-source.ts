// Sources of kind csi → what is asked of their driver. Pure.
import { type CsiPod, type CsiVolume, type DriverSettings, inlineHandle, type SecretRef } from '@nodelet/csi-node'
import type { CSIPersistentVolumeSource, CSIVolumeSource, Pod, SecretReference } from 'kubernetes-types/core/v1.d.ts'
import type { CSIDriver, CSIDriverSpec } from 'kubernetes-types/storage/v1.d.ts'
import type { BoundVolume } from './claim.ts'

/** The volume of a claim. */
export function boundCsiVolume(
  source: CSIPersistentVolumeSource,
  { volume, readOnly }: Pick<BoundVolume, 'volume' | 'readOnly'>,
): CsiVolume {
  const { accessModes = [], volumeMode, mountOptions } = volume.spec ?? {}
  return {
    driver: source.driver,
    volumeHandle: source.volumeHandle,
    specName: volume.metadata?.name ?? '',
    lifecycle: 'Persistent',
    volumeMode: volumeMode === 'Block' ? 'Block' : 'Filesystem',
    fsType: source.fsType,
    accessModes,
    // As they are: drivers never knew the annotation, and the order may mean something to them.
    mountOptions,
    readOnly,
    attributes: source.volumeAttributes,
    stageSecret: secretOf(source.nodeStageSecretRef),
    publishSecret: secretOf(source.nodePublishSecretRef),
    expandSecret: secretOf(source.nodeExpandSecretRef),
  }
}

const secretOf = (ref: SecretReference | undefined): SecretRef | undefined =>
  ref && { namespace: ref.namespace ?? '', name: ref.name ?? '' }

/** One that is inline in a pod. */
export function inlineCsiVolume(name: string, source: CSIVolumeSource, { metadata }: Pod): CsiVolume {
  const { driver, fsType, readOnly, volumeAttributes, nodePublishSecretRef } = source
  return {
    driver,
    volumeHandle: inlineHandle(metadata?.uid ?? '', name),
    specName: name,
    lifecycle: 'Ephemeral',
    volumeMode: 'Filesystem',
    fsType,
    accessModes: ['ReadWriteOnce'],
    readOnly,
    attributes: volumeAttributes,
    publishSecret: nodePublishSecretRef && {
      namespace: metadata?.namespace ?? 'default',
      name: nodePublishSecretRef.name ?? '',
    },
  }
}

export const csiPod = ({ metadata, spec }: Pod): CsiPod => ({
  uid: metadata?.uid ?? '',
  name: metadata?.name ?? '',
  namespace: metadata?.namespace ?? 'default',
  serviceAccountName: spec?.serviceAccountName ?? 'default',
  fsGroup: spec?.securityContext?.fsGroup,
  fsGroupChangePolicy: spec?.securityContext?.fsGroupChangePolicy,
})

/** Fields that are newer than the types. */
type NewerDriverSpec = CSIDriverSpec & { serviceAccountTokenInSecrets?: boolean }

export function driverSettings(driver: CSIDriver | undefined): DriverSettings | undefined {
  if (!driver) return undefined
  const spec: NewerDriverSpec = driver.spec
  return {
    podInfoOnMount: spec.podInfoOnMount,
    volumeLifecycleModes: spec.volumeLifecycleModes,
    fsGroupPolicy: spec.fsGroupPolicy,
    tokenRequests: spec.tokenRequests,
    requiresRepublish: spec.requiresRepublish,
    seLinuxMount: spec.seLinuxMount,
    serviceAccountTokenInSecrets: spec.serviceAccountTokenInSecrets,
  }
}

/** Whether a controller attaches the volume to the node first. */
export const needsAttach = (volume: CsiVolume, driver: CSIDriver | undefined): boolean =>
  volume.lifecycle === 'Persistent' && (driver?.spec.attachRequired ?? true)
