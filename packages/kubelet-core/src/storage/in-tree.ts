// Volumes of cloud providers that Kubernetes once had plugins for → volumes of their CSI drivers, as `csi-translation-lib` does. Pure.
import type {
  AWSElasticBlockStoreVolumeSource,
  AzureDiskVolumeSource,
  CinderVolumeSource,
  CSIPersistentVolumeSource,
  GCEPersistentDiskVolumeSource,
  PersistentVolume,
  PersistentVolumeSpec,
  PortworxVolumeSource,
  SecretReference,
  Volume,
  VsphereVirtualDiskVolumeSource,
} from 'kubernetes-types/core/v1.d.ts'
import { translateTopology, type TopologyKeys, zonesOf } from './in-tree-topology.ts'

/** Sources of volumes that both pods and PersistentVolumes have. */
type InTreeField =
  | 'awsElasticBlockStore'
  | 'azureDisk'
  | 'azureFile'
  | 'cinder'
  | 'gcePersistentDisk'
  | 'portworxVolume'
  | 'vsphereVolume'

interface InTreePlugin<Field extends InTreeField> {
  /** As CSINode's annotation of migrated plugins has it. */
  plugin: string
  /** `name` of the driver. */
  driver: string
  /** Labels of nodes that say what the driver reaches; undefined: affinity of volumes stays as it is. */
  topology?: TopologyKeys
  /** @throws Error naming what is wrong */
  ofVolume(source: NonNullable<PersistentVolumeSpec[Field]>, volume: PersistentVolume): Disk
  /** How the volume of a pod is called: the disk's name on this node. @throws Error naming what is wrong */
  inline(source: NonNullable<Volume[Field]>, volume: string, namespace: string): InlineVolume
}

/** What the driver has to know. */
interface Disk {
  volumeHandle: string
  fsType?: string | undefined
  readOnly?: boolean | undefined
  volumeAttributes: Record<string, string>
  nodeStageSecretRef?: SecretReference
}

interface InlineVolume extends Disk {
  /** Unlike all other volumes' of the driver. */
  specName: string
  accessMode: 'ReadWriteOnce' | 'ReadOnlyMany' | 'ReadWriteMany'
}

type InTreePlugins = { [Field in InTreeField]: InTreePlugin<Field> }

const inTree: InTreePlugins = {
  awsElasticBlockStore: {
    plugin: 'kubernetes.io/aws-ebs',
    driver: 'ebs.csi.aws.com',
    topology: { zone: 'topology.ebs.csi.aws.com/zone' },
    ofVolume: ebsDisk,
    inline: (source) => {
      const disk = ebsDisk(source)
      return { specName: `ebs.csi.aws.com-${disk.volumeHandle}`, accessMode: 'ReadWriteOnce', ...disk }
    },
  },
  azureDisk: {
    plugin: 'kubernetes.io/azure-disk',
    driver: 'disk.csi.azure.com',
    topology: { zone: 'topology.disk.csi.azure.com/zone' },
    ofVolume: azureDisk,
    inline: (source) => ({ specName: source.diskName, accessMode: 'ReadWriteOnce', ...azureDisk(source) }),
  },
  azureFile: {
    plugin: 'kubernetes.io/azure-file',
    driver: 'file.csi.azure.com',
    ofVolume({ secretName, secretNamespace, shareName, readOnly }, { metadata, spec }) {
      const namespace = secretNamespace ?? spec?.claimRef?.namespace ?? ''
      if (namespace === '') throw new Error('could not find a secret namespace in PersistentVolumeSource or ClaimRef')
      const group = metadata?.annotations?.['kubernetes.io/azure-file-resource-group'] ?? ''
      const secret = { name: secretName, namespace }
      return { ...azureShare(group, secret, shareName, metadata?.name ?? ''), readOnly }
    },
    inline: ({ secretName, shareName, readOnly }, volume, namespace) => ({
      specName: `file.csi.azure.com-${shareName}`,
      accessMode: 'ReadWriteMany',
      ...azureShare('', { name: secretName, namespace }, shareName, volume),
      readOnly,
    }),
  },
  cinder: {
    plugin: 'kubernetes.io/cinder',
    driver: 'cinder.csi.openstack.org',
    topology: { zone: 'topology.cinder.csi.openstack.org/zone' },
    ofVolume: plainDisk,
    inline: (source) => ({
      specName: `cinder.csi.openstack.org-${source.volumeID}`,
      accessMode: 'ReadWriteOnce',
      ...plainDisk(source),
    }),
  },
  gcePersistentDisk: {
    plugin: 'kubernetes.io/gce-pd',
    driver: 'pd.csi.storage.gke.io',
    topology: { zone: 'topology.gke.io/zone' },
    ofVolume: (source, volume) => gceDisk(source, gcePlace(zonesOf(volume))),
    inline: (source) => ({
      specName: `pd.csi.storage.gke.io-${source.pdName}`,
      accessMode: source.readOnly ? 'ReadOnlyMany' : 'ReadWriteOnce',
      ...gceDisk(source, gcePlace([])),
    }),
  },
  portworxVolume: {
    plugin: 'kubernetes.io/portworx-volume',
    driver: 'pxd.portworx.com',
    ofVolume: plainDisk,
    inline: (source) => ({
      specName: `pxd.portworx.com-${source.volumeID}`,
      accessMode: 'ReadWriteMany',
      ...plainDisk(source),
    }),
  },
  vsphereVolume: {
    plugin: 'kubernetes.io/vsphere-volume',
    driver: 'csi.vsphere.vmware.com',
    topology: { zone: 'topology.csi.vmware.com/zone', region: 'topology.csi.vmware.com/region' },
    ofVolume: vsphereDisk,
    inline: (source) => ({
      specName: `csi.vsphere.vmware.com-${source.volumePath}`,
      accessMode: 'ReadWriteOnce',
      ...vsphereDisk(source),
    }),
  },
}

/** What CSINode says is translated: sorted. */
export const migratedPlugins: readonly string[] = Object.values(inTree)
  .map(({ plugin }) => plugin)
  .toSorted()

const fieldOf = (spec: { readonly [Field in InTreeField]?: unknown } | undefined): InTreeField | undefined =>
  (Object.keys(inTree) as InTreeField[]).find((field) => spec?.[field] !== undefined)

/**
 * A PersistentVolume with a source of kind csi in the place of that of a cloud provider, and the affinity that the driver's labels of
 * nodes ask for; undefined: it has no such source.
 * @throws Error naming what of the source cannot be translated
 */
export function translatedVolume(volume: PersistentVolume): PersistentVolume | undefined {
  const field = fieldOf(volume.spec)
  if (!field || !volume.spec) return undefined
  const { [field]: source, ...spec } = volume.spec
  const { driver, topology, ofVolume } = inTree[field] as InTreePlugin<InTreeField>
  const csi = csiSource(driver, ofVolume(source as never, volume))
  const nodeAffinity = topology ? translateTopology(volume, topology) : spec.nodeAffinity
  const accessModes = field === 'gcePersistentDisk' ? attachableModes(spec.accessModes ?? []) : spec.accessModes
  return {
    ...volume,
    spec: { ...spec, csi, ...(nodeAffinity && { nodeAffinity }), ...(accessModes && { accessModes }) },
  }
}

/**
 * A PersistentVolume for a cloud provider's volume that is inline in a pod: what its driver has to attach and stage, as any other.
 * Undefined: it is none.
 * @param namespace of the pod
 * @throws Error naming what of the source cannot be translated
 */
export function translatedInline(volume: Volume, namespace: string): PersistentVolume | undefined {
  const field = fieldOf(volume)
  if (!field) return undefined
  const { driver, inline } = inTree[field] as InTreePlugin<InTreeField>
  const { specName, accessMode, ...source } = inline(volume[field] as never, volume.name, namespace)
  return { metadata: { name: specName }, spec: { accessModes: [accessMode], csi: csiSource(driver, source) } }
}

function csiSource(driver: string, disk: Disk): CSIPersistentVolumeSource {
  const { volumeHandle, fsType, readOnly, ...rest } = disk
  return { driver, volumeHandle, ...(fsType !== undefined && { fsType }), ...(readOnly && { readOnly }), ...rest }
}

function plainDisk({ volumeID, fsType, readOnly }: CinderVolumeSource | PortworxVolumeSource): Disk {
  return { volumeHandle: volumeID, fsType, readOnly, volumeAttributes: {} }
}

function ebsDisk({ volumeID, partition = 0, fsType, readOnly }: AWSElasticBlockStoreVolumeSource): Disk {
  return { volumeHandle: ebsId(volumeID), fsType, readOnly, volumeAttributes: { partition: String(partition) } }
}

/** `vol-1`, or of `aws://ZONE/vol-1` and `aws:///vol-1` its end. */
function ebsId(id: string): string {
  const prefix = 'aws://'
  if (!id.startsWith(prefix)) return id
  const path = id.slice(prefix.length)
  const disk = path.slice(path.indexOf('/') + 1).replaceAll(/^\/+|\/+$/g, '')
  if (!path.includes('/') || !/^vol-[^/]*$/.test(disk)) throw new Error(`invalid format for AWS volume (${id})`)
  return disk
}

function azureDisk({ diskURI, cachingMode, fsType, kind, readOnly }: AzureDiskVolumeSource): Disk {
  return {
    volumeHandle: diskURI,
    fsType,
    readOnly,
    volumeAttributes: {
      kind: kind ?? 'Managed',
      ...(cachingMode && { cachingMode }),
      ...(fsType !== undefined && { fsType }),
    },
  }
}

/** @param disk name of the PersistentVolume, or of the pod's volume */
function azureShare(group: string, secret: Required<SecretReference>, shareName: string, disk: string): Disk {
  const account = /azure-storage-account-(.+)-secret/.exec(secret.name)?.[1] ?? secret.name
  return {
    volumeHandle: [group, account, shareName, disk, secret.namespace].join('#'),
    volumeAttributes: { sharename: shareName },
    nodeStageSecretRef: secret,
  }
}

const unspecified = 'UNSPECIFIED'

/** Where in the provider's world a disk is: in one zone, in a region, or nobody said. @throws Error: the zones are of several regions */
function gcePlace(zones: readonly string[]): string {
  const [zone = unspecified, ...others] = zones
  if (others.length === 0) return `zones/${zone}`
  const regions = new Set(
    zones.map((one) => {
      const parts = one.split('-')
      if (parts.length !== 3)
        throw new Error(`zone in unexpected format, expected: {locale}-{region}-{zone}, got: ${one}`)
      return parts.slice(0, 2).join('-')
    }),
  )
  const [region, ...more] = regions
  if (more.length > 0) throw new Error(`multiple or no regions gotten from zones, got: ${[...regions].join(' ')}`)
  return `regions/${region}`
}

function gceDisk({ pdName, partition, fsType, readOnly }: GCEPersistentDiskVolumeSource, place: string): Disk {
  return {
    volumeHandle: `projects/${unspecified}/${place}/disks/${pdName}`,
    fsType,
    readOnly,
    volumeAttributes: { partition: partition ? String(partition) : '' },
  }
}

/** The plugin never looked at modes, and the driver refuses those that a disk cannot have. */
function attachableModes(modes: readonly string[]): string[] {
  const attachable = new Set(modes.map((mode) => (mode === 'ReadWriteMany' ? 'ReadWriteOnce' : mode)))
  if (attachable.has('ReadWriteOnce')) attachable.delete('ReadOnlyMany')
  return [...attachable]
}

function vsphereDisk({ volumePath, fsType, storagePolicyName }: VsphereVirtualDiskVolumeSource): Disk {
  return {
    volumeHandle: volumePath,
    fsType,
    volumeAttributes: { ...(storagePolicyName && { storagepolicyname: storagePolicyName }) },
  }
}
