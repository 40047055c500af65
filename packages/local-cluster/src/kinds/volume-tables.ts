// Volumes, claims, classes and drivers as kubectl prints them. Pure.
import { isFields, listAt } from '../object.ts'
import type { ApiObject, Fields } from '../object.ts'
import { ageCell, columns, none, partOf, word } from './columns.ts'
import type { Cell, Layout } from './columns.ts'

const unset = '<unset>'

const shortModes: Readonly<Record<string, string>> = {
  ReadWriteOnce: 'RWO',
  ReadOnlyMany: 'ROX',
  ReadWriteMany: 'RWX',
  ReadWriteOncePod: 'RWOP',
}
const textsAt = (object: Fields, key: string): string[] => (Array.isArray(object[key]) ? (object[key] as string[]) : [])
/** Always in this order. */
const modesOf = (object: Fields): string =>
  Object.entries(shortModes)
    .flatMap(([mode, short]) => (textsAt(object, 'accessModes').includes(mode) ? [short] : []))
    .join(',')
const storageOf = (object: Fields): string => word(partOf(object, 'capacity').storage)
const phaseOf = (object: ApiObject): string =>
  object.metadata.deletionTimestamp ? 'Terminating' : word(partOf(object, 'status').phase)
const isTrue = (value: unknown): boolean => value === true

/** Before classes had a field, an annotation named them. */
const classOf = ({ metadata }: ApiObject, spec: Fields): string =>
  metadata.annotations?.['volume.beta.kubernetes.io/storage-class'] ?? word(spec.storageClassName)

const defaultMarks = ['storageclass.kubernetes.io/is-default-class', 'storageclass.beta.kubernetes.io/is-default-class']

export const volumeLayouts: Readonly<Record<string, Layout>> = {
  persistentvolumes: {
    columns: columns(
      'Name,Capacity,Access Modes,Reclaim Policy,Status,Claim,StorageClass,VolumeAttributesClass,Reason,Age',
      'VolumeMode',
    ),
    cells: (volume, now) => {
      const spec = partOf(volume, 'spec')
      const { namespace, name } = partOf(spec, 'claimRef')
      return [
        volume.metadata.name,
        storageOf(spec),
        modesOf(spec),
        word(spec.persistentVolumeReclaimPolicy),
        phaseOf(volume),
        isFields(spec.claimRef) ? `${word(namespace)}/${word(name)}` : '',
        classOf(volume, spec),
        word(spec.volumeAttributesClassName) || unset,
        word(partOf(volume, 'status').reason),
        ageCell(volume, now),
        word(spec.volumeMode) || unset,
      ]
    },
  },
  persistentvolumeclaims: {
    columns: columns('Name,Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age', 'VolumeMode'),
    cells: (claim, now) => {
      const spec = partOf(claim, 'spec')
      const bound = spec.volumeName ? partOf(claim, 'status') : {}
      return [
        claim.metadata.name,
        phaseOf(claim),
        word(spec.volumeName),
        storageOf(bound),
        modesOf(bound),
        classOf(claim, spec),
        word(spec.volumeAttributesClassName) || unset,
        ageCell(claim, now),
        word(spec.volumeMode) || unset,
      ]
    },
  },
  storageclasses: {
    columns: columns('Name,Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age'),
    cells: (one, now) => {
      const isDefault = defaultMarks.some((mark) => one.metadata.annotations?.[mark] === 'true')
      return [
        `${one.metadata.name}${isDefault ? ' (default)' : ''}`,
        word(one.provisioner),
        word(one.reclaimPolicy),
        word(one.volumeBindingMode),
        isTrue(one.allowVolumeExpansion),
        ageCell(one, now),
      ]
    },
  },
  csidrivers: {
    columns: columns('Name,AttachRequired,PodInfoOnMount,StorageCapacity,TokenRequests,RequiresRepublish,Modes,Age'),
    cells: (driver, now) => {
      const spec = partOf(driver, 'spec')
      const flags = ['attachRequired', 'podInfoOnMount', 'storageCapacity'].map((name) => isTrue(spec[name]))
      const audiences = listAt(spec, 'tokenRequests').map(({ audience }) => word(audience))
      return [
        driver.metadata.name,
        ...flags,
        Array.isArray(spec.tokenRequests) ? audiences.join(',') : unset,
        isTrue(spec.requiresRepublish),
        textsAt(spec, 'volumeLifecycleModes').join(',') || none,
        ageCell(driver, now),
      ] satisfies Cell[]
    },
  },
  csinodes: {
    columns: columns('Name,Drivers,Age'),
    cells: (node, now) => [node.metadata.name, listAt(partOf(node, 'spec'), 'drivers').length, ageCell(node, now)],
  },
  volumeattachments: {
    columns: columns('Name,Attacher,PV,Node,Attached,Age'),
    cells: (attachment, now) => {
      const spec = partOf(attachment, 'spec')
      return [
        attachment.metadata.name,
        word(spec.attacher),
        word(partOf(spec, 'source').persistentVolumeName),
        word(spec.nodeName),
        isTrue(partOf(attachment, 'status').attached),
        ageCell(attachment, now),
      ]
    },
  },
  csistoragecapacities: {
    columns: columns('Name,StorageClassName,Capacity'),
    cells: (one) => [one.metadata.name, word(one.storageClassName), word(one.capacity) || unset],
  },
}
