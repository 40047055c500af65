// What the volumes of a pod need, decided from its spec alone. Pure.
import type {
  ConfigMapProjection,
  Container,
  DownwardAPIVolumeFile,
  KeyToPath,
  NFSVolumeSource,
  PersistentVolume,
  PersistentVolumeSpec,
  Pod,
  Volume,
} from 'kubernetes-types/core/v1.d.ts'
import type { CsiVolume } from '@nodelet/csi-node'
import type { NewerProjection, PodCertificateProjection } from '../certificate/pod-request.ts'
import { parseQuantity } from '../quantity.ts'
import { podQuantity } from '../resource/pod-resources.ts'
import { fileKeyRefs } from '../pod/file-key-ref.ts'
import { type BoundVolume, mountOptionsOf } from '../storage/claim.ts'
import { boundCsiVolume, inlineCsiVolume } from '../storage/csi-source.ts'
import { translatedInline, translatedVolume } from '../storage/in-tree.ts'
import { attachNameOf, fcTarget, iscsiTarget, type ScsiTarget } from '../storage/scsi/target.ts'
import { fieldErrorsText } from '../validation/field-error.ts'
import { podCertificateErrors } from '../validation/volume/pod-certificate.ts'
import { isImageVolume } from './image-volume.ts'
import type { TrustSource } from './trust-anchors.ts'
import { VolumeError } from './types.ts'

/** Where the files of a volume come from; a later source wins at an equal path. */
export type FileSource =
  | { kind: 'ConfigMap' | 'Secret'; name: string; optional: boolean; items?: readonly KeyToPath[] }
  | { kind: 'downwardAPI'; items: readonly DownwardAPIVolumeFile[] }
  | { kind: 'token'; audience: string; expirationSeconds: number; path: string }
  | { kind: 'trustAnchors'; source: TrustSource; path: string }
  /** `index`: of the source in its volume */
  | { kind: 'podCertificate'; source: PodCertificateProjection; index: number }

export interface EmptyDirPlan {
  kind: 'emptyDir'
  name: string
  /** Bytes of a tmpfs, or of a hugetlbfs; undefined for a folder on disk. */
  memoryBytes: bigint | undefined
  /** Bytes of a page of the hugetlbfs. */
  pageBytes?: bigint
}

export interface HostPathPlan {
  kind: 'hostPath'
  name: string
  path: string
  /** As in the API; `` checks nothing. */
  type: string
  bound?: BoundVolume
}

/** Files that are written here and replaced all at once. */
export interface FilesPlan {
  kind: 'files'
  name: string
  plugin: 'configmap' | 'secret' | 'projected' | 'downward-api'
  /** On tmpfs rather than on disk. */
  memory: boolean
  defaultMode: number
  sources: readonly FileSource[]
}

/** A volume of a CSI driver. */
export interface CsiPlan {
  kind: 'csi'
  name: string
  volume: CsiVolume
  bound?: BoundVolume
}

/** A folder of this node, or a device, that a PersistentVolume names. */
export interface LocalPlan {
  kind: 'local'
  name: string
  /** Of the PersistentVolume. */
  specName: string
  path: string
  /** Of a device that has files; empty: as it has, else ext4. */
  fsType: string
  volumeMode: 'Filesystem' | 'Block'
  readOnly: boolean
  mountOptions: readonly string[]
  bound: BoundVolume
}

/** A folder of an NFS server. */
export interface NfsPlan {
  kind: 'nfs'
  name: string
  /** Of the PersistentVolume, or of the pod's volume. */
  specName: string
  server: string
  path: string
  readOnly: boolean
  mountOptions: readonly string[]
  bound?: BoundVolume
}

/** A disk of an iSCSI target, or of a Fibre Channel network. */
export interface ScsiPlan {
  kind: 'scsi'
  name: string
  /** Of the PersistentVolume, or of the pod's volume. */
  specName: string
  target: ScsiTarget
  /** As node.status.volumesAttached names it. */
  attachName: string
  /** Of CHAP; undefined: the volume names none. */
  secret?: { namespace: string; name: string } | undefined
  /** Empty: as the disk has it, else ext4. */
  fsType: string
  volumeMode: 'Filesystem' | 'Block'
  readOnly: boolean
  mountOptions: readonly string[]
  bound?: BoundVolume
}

export type VolumePlan = EmptyDirPlan | HostPathPlan | FilesPlan | CsiPlan | LocalPlan | NfsPlan | ScsiPlan

const usualMode = 0o644
const usualTokenSeconds = 3600

/**
 * Plans the volumes that containers of the pod mount; others are left alone, as are images, which the runtime mounts.
 *
 * @param machineMemory bytes; no tmpfs is larger
 * @param bound what claims are bound to, by the name of the pod's volume
 * @param unbound volumes of claims that are not: they are left alone
 * @throws VolumeError for a volume of a kind that is not supported, or malformed
 */
export function planVolumes(
  pod: Pod,
  machineMemory: bigint,
  bound: ReadonlyMap<string, BoundVolume> = new Map(),
  unbound: ReadonlySet<string> = new Set(),
): VolumePlan[] {
  const used = usedVolumes(pod)
  return (pod.spec?.volumes ?? [])
    .filter((volume) => used.has(volume.name) && !unbound.has(volume.name) && !isImageVolume(volume))
    .map((volume) => {
      try {
        return planVolume(volume, pod, machineMemory, bound.get(volume.name))
      } catch (cause) {
        if (cause instanceof VolumeError) throw cause
        throw setUpError(volume.name, cause)
      }
    })
}

/** The error of a volume in the words of a FailedMount event. @param specName that of its PersistentVolume, if it has one */
export function setUpError(volume: string, cause: unknown, specName: string = volume): VolumeError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new VolumeError(volume, `MountVolume.SetUp failed for volume "${specName}" : ${reason}`, { cause })
}

/** The volumes that containers of the pod mount, have as devices or read variables from. */
export function usedVolumes({ spec }: Pod): Set<string> {
  const containers: Pick<Container, 'volumeMounts' | 'volumeDevices' | 'env'>[] = [
    ...(spec?.initContainers ?? []),
    ...(spec?.containers ?? []),
    ...(spec?.ephemeralContainers ?? []),
  ]
  return new Set([
    ...containers
      .flatMap(({ volumeMounts = [], volumeDevices = [] }) => [...volumeMounts, ...volumeDevices])
      .map((mount) => mount.name),
    ...containers.flatMap(fileKeyRefs).map(({ volumeName }) => volumeName),
  ])
}

function planVolume(volume: Volume, pod: Pod, machineMemory: bigint, bound: BoundVolume | undefined): VolumePlan {
  const { name, emptyDir, hostPath, configMap, secret, projected, downwardAPI, csi, nfs } = volume
  if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name)) {
    throw new VolumeError(name, `volume name ${JSON.stringify(name)} is not a DNS label: rename the volume`)
  }
  if (bound) return planBound(name, bound)
  if (csi) return { kind: 'csi', name, volume: inlineCsiVolume(name, csi, pod) }
  const translated = translatedInline(volume, pod.metadata?.namespace ?? 'default')
  if (translated) return planTranslated(name, translated)
  if (nfs) return { ...planNfs(name, nfs), readOnly: nfs.readOnly ?? false }
  const scsi = planScsi(volume, name, name, pod.metadata?.namespace ?? 'default')
  if (scsi) return { ...scsi, readOnly: (volume.iscsi ?? volume.fc)?.readOnly ?? false }
  const files = { kind: 'files', name, memory: true } as const
  if (emptyDir) return planEmptyDir(name, emptyDir, pod, machineMemory)
  if (hostPath) return planHostPath(name, hostPath)
  if (configMap) {
    const sources = [objectSource('ConfigMap', configMap)]
    return { ...files, plugin: 'configmap', memory: false, defaultMode: configMap.defaultMode ?? usualMode, sources }
  }
  if (secret) {
    const { secretName = '', defaultMode = usualMode, ...rest } = secret
    return { ...files, plugin: 'secret', defaultMode, sources: [objectSource('Secret', { ...rest, name: secretName })] }
  }
  if (downwardAPI) {
    const sources = [{ kind: 'downwardAPI', items: downwardAPI.items ?? [] } as const]
    return { ...files, plugin: 'downward-api', defaultMode: downwardAPI.defaultMode ?? usualMode, sources }
  }
  if (projected) {
    const sources = (projected.sources ?? []).map((source, index) => projectedSource(name, source, index))
    return { ...files, plugin: 'projected', defaultMode: projected.defaultMode ?? usualMode, sources }
  }
  // The API server fills in emptyDir when a volume names no source at all.
  const kind = Object.keys(volume).find((key) => key !== 'name')
  if (kind === undefined) return { kind: 'emptyDir', name, memoryBytes: undefined }
  throw unsupported(name, kind)
}

function unsupported(volume: string, kind: string): VolumeError {
  const known = 'emptyDir, hostPath, configMap, secret, downwardAPI, projected, image, csi, nfs, iscsi, fc, or a claim'
  return new VolumeError(volume, `volume "${volume}" is of kind ${kind}, which is not supported: use ${known}`)
}

function planEmptyDir(
  name: string,
  { medium = '', sizeLimit }: NonNullable<Volume['emptyDir']>,
  pod: Pod,
  machineMemory: bigint,
): EmptyDirPlan {
  if (medium === '') return { kind: 'emptyDir', name, memoryBytes: undefined }
  const asked = parseQuantity(sizeLimit ?? '0', 'emptyDir.sizeLimit')
  if (medium === 'Memory') {
    return { kind: 'emptyDir', name, memoryBytes: leastOf(asked, podMemoryLimit(pod), machineMemory) }
  }
  if (!medium.startsWith('HugePages')) throw unsupported(name, `emptyDir with medium ${medium}`)
  const size = hugePageSize(medium, pod)
  const ofPod = podQuantity(pod, 'limits', `hugepages-${size}`) / 1000n
  return { kind: 'emptyDir', name, memoryBytes: leastOf(asked, ofPod), pageBytes: parseQuantity(size) }
}

/** Of those that are limits; zero is none. */
const leastOf = (...limits: bigint[]): bigint =>
  limits.filter((limit) => limit > 0n).reduce((least, limit) => (limit < least ? limit : least))

/** The page size that `HugePages` or `HugePages-SIZE` means in this pod, such as `2Mi`. */
function hugePageSize(medium: string, { spec }: Pod): string {
  const prefix = 'hugepages-'
  const limits = [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].flatMap(({ resources }) =>
    Object.keys(resources?.limits ?? {}),
  )
  const sizes = new Set(limits.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)))
  const [size, ...others] = sizes
  if (size === undefined) throw new Error(`medium ${medium}: no container has a limit of huge pages`)
  if (medium === 'HugePages') {
    if (others.length === 0) return size
    throw new Error(`medium HugePages: the pod has huge pages of ${[...sizes].join(' and ')}: use HugePages-${size}`)
  }
  const wanted = medium.slice('HugePages-'.length)
  const same = [...sizes].find((one) => parseQuantity(one) === parseQuantity(wanted, 'emptyDir.medium'))
  if (same !== undefined) return same
  throw new Error(`medium ${medium}: no container has a limit of ${prefix}${wanted}`)
}

/** What the pod's memory cgroup is limited to; 0 when a container has no limit. */
function podMemoryLimit({ spec }: Pod): bigint {
  const limitOf = ({ resources }: Container): bigint => parseQuantity(resources?.limits?.['memory'] ?? '0')
  const inits = spec?.initContainers ?? []
  const sidecars = inits.filter(({ restartPolicy }) => restartPolicy === 'Always')
  const lasting = [...(spec?.containers ?? []), ...sidecars].map(limitOf)
  const passing = inits.filter((container) => !sidecars.includes(container)).map(limitOf)
  if ([...lasting, ...passing].includes(0n)) return 0n
  return [lasting.reduce((sum, limit) => sum + limit, 0n), ...passing].reduce((a, b) => (a > b ? a : b))
}

function planHostPath(name: string, { path, type = '' }: NonNullable<Volume['hostPath']>): HostPathPlan {
  if (!path.startsWith('/') || path.split('/').includes('..')) {
    throw new VolumeError(name, `volume "${name}" has hostPath ${JSON.stringify(path)}: write it absolute, without ..`)
  }
  return { kind: 'hostPath', name, path, type }
}

/** Of a cloud provider, inline in a pod. */
function planTranslated(name: string, volume: PersistentVolume): CsiPlan {
  const csi = volume.spec?.csi ?? { driver: '', volumeHandle: '' }
  return {
    kind: 'csi',
    name,
    volume: { ...boundCsiVolume(csi, { volume, readOnly: csi.readOnly ?? false }), migrated: true },
  }
}

/** @throws Error naming a source that is not supported, or cannot be translated */
function planBound(name: string, given: BoundVolume): VolumePlan {
  const translated = translatedVolume(given.volume)
  const bound = translated ? { ...given, volume: translated } : given
  const { volume, readOnly } = bound
  const { csi, local, nfs, hostPath, ...rest } = volume.spec ?? {}
  const specName = volume.metadata?.name ?? ''
  if (csi) {
    return {
      kind: 'csi',
      name,
      volume: { ...boundCsiVolume(csi, bound), ...(translated && { migrated: true }) },
      bound,
    }
  }
  const mountOptions = mountOptionsOf(volume)
  if (nfs) {
    return { ...planNfs(name, nfs), specName, readOnly: readOnly || (nfs.readOnly ?? false), mountOptions, bound }
  }
  const volumeMode = volume.spec?.volumeMode === 'Block' ? 'Block' : 'Filesystem'
  if (local) {
    const { path, fsType = '' } = local
    return { kind: 'local', name, specName, path, fsType, volumeMode, readOnly, mountOptions, bound }
  }
  if (hostPath) return { ...planHostPath(name, hostPath), bound }
  const scsi = planScsi(volume.spec ?? {}, name, specName, bound.claim.metadata?.namespace ?? 'default')
  if (scsi) return { ...scsi, volumeMode, readOnly, mountOptions, bound }
  const kind = Object.keys(rest).find((key) => !notSources.has(key)) ?? 'none'
  const known = 'csi, local, nfs, hostPath, iscsi or fc'
  throw new VolumeError(
    name,
    `volume "${name}": PersistentVolume ${specName} is of kind ${kind}, which is not supported: use ${known}`,
  )
}

/** Fields of a PersistentVolume's spec beside its source. */
const notSources = new Set([
  'accessModes',
  'capacity',
  'claimRef',
  'mountOptions',
  'nodeAffinity',
  'persistentVolumeReclaimPolicy',
  'storageClassName',
  'volumeAttributesClassName',
  'volumeMode',
])

function planNfs(name: string, { server, path }: NFSVolumeSource): Omit<NfsPlan, 'readOnly'> {
  return { kind: 'nfs', name, specName: name, server, path, mountOptions: [] }
}

/** Undefined: the source is another. @param namespace of the pod @throws Error naming a field and its value */
function planScsi(
  { iscsi, fc }: Pick<PersistentVolumeSpec, 'iscsi' | 'fc'> | Pick<Volume, 'iscsi' | 'fc'>,
  name: string,
  specName: string,
  namespace: string,
): Omit<ScsiPlan, 'readOnly'> | undefined {
  const usual = { kind: 'scsi', name, specName, volumeMode: 'Filesystem', mountOptions: [] } as const
  if (iscsi) {
    const target = iscsiTarget(iscsi, specName)
    const { secretRef } = iscsi
    const secret = secretRef?.name ? { namespace, ...secretRef, name: secretRef.name } : undefined
    return {
      ...usual,
      target,
      attachName: attachNameOf(target, iscsi.targetPortal),
      secret,
      fsType: iscsi.fsType ?? '',
    }
  }
  if (!fc) return undefined
  const target = fcTarget(fc)
  return { ...usual, target, attachName: attachNameOf(target), fsType: fc.fsType ?? '' }
}

function objectSource(
  kind: 'ConfigMap' | 'Secret',
  { name = '', optional = false, items }: ConfigMapProjection,
): FileSource {
  return { kind, name, optional, ...(items && items.length > 0 ? { items } : {}) }
}

function projectedSource(volume: string, projection: NewerProjection, index: number): FileSource {
  const { configMap, secret, downwardAPI, serviceAccountToken, clusterTrustBundle, podCertificate } = projection
  if (configMap) return objectSource('ConfigMap', configMap)
  if (secret) return objectSource('Secret', secret)
  if (downwardAPI) return { kind: 'downwardAPI', items: downwardAPI.items ?? [] }
  if (serviceAccountToken) {
    const { audience = '', expirationSeconds = usualTokenSeconds, path } = serviceAccountToken
    return { kind: 'token', audience, expirationSeconds, path }
  }
  if (clusterTrustBundle) {
    const { path, ...source } = clusterTrustBundle
    return { kind: 'trustAnchors', source, path }
  }
  if (podCertificate) {
    const errors = [...podCertificateErrors(podCertificate, `projected.sources[${index}].podCertificate`)]
    if (errors.length > 0) throw new Error(fieldErrorsText(errors))
    return { kind: 'podCertificate', source: podCertificate, index }
  }
  throw unsupported(volume, `projected ${Object.keys(projection).join(', ') || 'without a source'}`)
}
