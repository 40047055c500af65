// PersistentVolumes and claims: what is wrong with them, and what of them may not change. Pure.
import { duplicate, forbidden, invalidValue, required, tooLong, unsupported } from '../api/errors.ts'
import type { FieldProblem } from '../api/errors.ts'
import { isFields, listAt, partOf, sameJson } from '../object.ts'
import type { ApiObject, Fields } from '../object.ts'
import { longestName, subdomain, subdomainText } from './names.ts'
import { podCertificateSourceProblems } from './pod-certificates.ts'
import { quantity } from './quantity.ts'

const accessModes = ['ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOnce', 'ReadWriteOncePod']
const volumeModes = ['Block', 'Filesystem']
const reclaimPolicies = ['Delete', 'Recycle', 'Retain']
const longestDriverName = 63

/** Kinds of storage that a PersistentVolume may be of: it is of one. */
const sources = [
  'awsElasticBlockStore',
  'azureDisk',
  'azureFile',
  'cephfs',
  'cinder',
  'csi',
  'fc',
  'flexVolume',
  'flocker',
  'gcePersistentDisk',
  'glusterfs',
  'hostPath',
  'iscsi',
  'local',
  'nfs',
  'photonPersistentDisk',
  'portworxVolume',
  'quobyte',
  'rbd',
  'scaleIO',
  'storageos',
  'vsphereVolume',
]

const textsAt = (object: Fields, key: string): string[] =>
  Array.isArray(object[key]) ? object[key].filter((one) => typeof one === 'string') : []

export function volumeProblems(resource: string, spec: Fields): FieldProblem[] {
  if (resource === 'persistentvolumes') return persistentVolumeProblems(spec, 'spec')
  return resource === 'persistentvolumeclaims' ? claimProblems(spec, 'spec') : []
}

function persistentVolumeProblems(spec: Fields, at: string): FieldProblem[] {
  const { volumeMode, persistentVolumeReclaimPolicy: policy, nodeAffinity, storageClassName } = spec
  return [
    ...(textsAt(spec, 'accessModes').length === 0 ? [required(`${at}.accessModes`)] : []),
    ...accessModeProblems(spec, at),
    ...capacityProblems(spec.capacity, `${at}.capacity`),
    ...oneOf(policy, reclaimPolicies, `${at}.persistentVolumeReclaimPolicy`),
    ...(isFields(nodeAffinity) ? nodeAffinityProblems(nodeAffinity, `${at}.nodeAffinity`) : []),
    ...sourceProblems(spec, at),
    ...(typeof storageClassName === 'string' && storageClassName !== ''
      ? nameProblems(storageClassName, `${at}.storageClassName`)
      : []),
    ...oneOf(volumeMode, volumeModes, `${at}.volumeMode`),
  ]
}

const oneOf = (value: unknown, known: readonly string[], at: string): FieldProblem[] =>
  value === undefined || known.includes(String(value)) ? [] : [unsupported(at, value, known)]

/** Of a class or an object that is only named here. */
export function nameProblems(name: string, at: string): FieldProblem[] {
  if (name.length > longestName) return [invalidValue(at, name, `must be no more than ${longestName} bytes`)]
  return new RegExp(`^${subdomain}$`).test(name) ? [] : [invalidValue(at, name, subdomainText)]
}

export function driverNameProblems(name: unknown, at: string): FieldProblem[] {
  if (typeof name !== 'string' || name === '') return [required(at)]
  return [
    ...(name.length > longestDriverName ? [tooLong(at, longestDriverName)] : []),
    ...(new RegExp(`^${subdomain}$`).test(name.toLowerCase()) ? [] : [invalidValue(at, name, subdomainText)]),
  ]
}

function accessModeProblems(spec: Fields, at: string): FieldProblem[] {
  const modes = textsAt(spec, 'accessModes')
  const isMixed = modes.includes('ReadWriteOncePod') && modes.some((mode) => mode !== 'ReadWriteOncePod')
  return [
    ...modes
      .filter((mode) => !accessModes.includes(mode))
      .map((mode) => unsupported(`${at}.accessModes`, mode, accessModes)),
    ...(isMixed ? [forbidden(`${at}.accessModes`, 'may not use ReadWriteOncePod with other access modes')] : []),
  ]
}

function capacityProblems(capacity: unknown, at: string): FieldProblem[] {
  if (!isFields(capacity) || Object.keys(capacity).length === 0) return [required(at)]
  const names = Object.keys(capacity)
  return [
    ...(names.length > 1 || names[0] !== 'storage' ? [unsupported(at, capacity, ['storage'])] : []),
    ...names.flatMap((name) => positiveProblems(capacity[name], `${at}[${name}]`)),
  ]
}

const positiveProblems = (amount: unknown, at: string): FieldProblem[] =>
  quantity(amount) > 0 ? [] : [invalidValue(at, amount, 'must be greater than zero')]

function nodeAffinityProblems(affinity: Fields, at: string): FieldProblem[] {
  const wanted = affinity.required
  if (!isFields(wanted)) return [required(`${at}.required`, 'must specify required node constraints')]
  return listAt(wanted, 'nodeSelectorTerms').length > 0
    ? []
    : [required(`${at}.required.nodeSelectorTerms`, 'must have at least one node selector term')]
}

function sourceProblems(spec: Fields, at: string): FieldProblem[] {
  const named = sources.filter((name) => isFields(spec[name]))
  if (named.length === 0) return [required(at, 'must specify a volume type')]
  const isRoot = String(partOf(spec, 'hostPath').path).replaceAll(/\/+/g, '/') === '/'
  return [
    ...named.slice(1).map((name) => forbidden(`${at}.${name}`, 'may not specify more than 1 volume type')),
    ...named.flatMap((name) => oneSourceProblems(name, spec, `${at}.${name}`)),
    ...(isRoot && spec.persistentVolumeReclaimPolicy === 'Recycle'
      ? [forbidden(`${at}.persistentVolumeReclaimPolicy`, "may not be 'recycle' for a hostPath mount of '/'")]
      : []),
  ]
}

function oneSourceProblems(name: string, spec: Fields, at: string): FieldProblem[] {
  const source = partOf(spec, name)
  switch (name) {
    case 'hostPath':
      return pathProblems(source.path, `${at}.path`)
    case 'local':
      return [
        ...pathProblems(source.path, `${at}.path`),
        ...(isFields(spec.nodeAffinity)
          ? []
          : [required(`${at.replace(/\.local$/, '')}.nodeAffinity`, 'Local volume requires node affinity')]),
      ]
    case 'nfs':
      return ['server', 'path'].flatMap((field) => (source[field] ? [] : [required(`${at}.${field}`)]))
    case 'csi':
      return csiProblems(source, at)
    default:
      return []
  }
}

function pathProblems(path: unknown, at: string): FieldProblem[] {
  if (typeof path !== 'string' || path === '') return [required(at)]
  return path.split('/').includes('..') ? [invalidValue(at, path, "must not contain '..'")] : []
}

const secretRefs = [
  'controllerPublishSecretRef',
  'controllerExpandSecretRef',
  'nodeStageSecretRef',
  'nodePublishSecretRef',
  'nodeExpandSecretRef',
]

function csiProblems(source: Fields, at: string): FieldProblem[] {
  return [
    ...driverNameProblems(source.driver, `${at}.driver`),
    ...(source.volumeHandle ? [] : [required(`${at}.volumeHandle`)]),
    ...secretRefs.flatMap((name) => {
      const reference = source[name]
      if (!isFields(reference)) return []
      return ['name', 'namespace'].flatMap((field) => (reference[field] ? [] : [required(`${at}.${name}.${field}`)]))
    }),
  ]
}

export function claimProblems(spec: Fields, at: string): FieldProblem[] {
  const { selector, storageClassName, volumeMode } = spec
  const storage = partOf(partOf(spec, 'resources'), 'requests').storage
  const amount = `${at}.resources[storage]`
  return [
    ...(textsAt(spec, 'accessModes').length === 0
      ? [required(`${at}.accessModes`, 'at least 1 access mode is required')]
      : []),
    ...(isFields(selector) ? selectorProblems(selector, `${at}.selector`) : []),
    ...accessModeProblems(spec, at),
    ...(storage === undefined ? [required(amount)] : positiveProblems(storage, amount)),
    ...(typeof storageClassName === 'string' && storageClassName !== ''
      ? nameProblems(storageClassName, `${at}.storageClassName`)
      : []),
    ...oneOf(volumeMode, volumeModes, `${at}.volumeMode`),
    ...['dataSource', 'dataSourceRef'].flatMap((name) =>
      isFields(spec[name]) ? dataSourceProblems(spec[name], `${at}.${name}`) : [],
    ),
  ]
}

export function selectorProblems(selector: Fields, at: string): FieldProblem[] {
  return listAt(selector, 'matchExpressions').flatMap(({ operator, values }, index) => {
    const place = `${at}.matchExpressions[${index}]`
    const isEmpty = !Array.isArray(values) || values.length === 0
    if (operator === 'In' || operator === 'NotIn') {
      return isEmpty ? [required(`${place}.values`, "must be specified when `operator` is 'In' or 'NotIn'")] : []
    }
    if (operator === 'Exists' || operator === 'DoesNotExist') {
      const text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
      return isEmpty ? [] : [forbidden(`${place}.values`, text)]
    }
    return [invalidValue(`${place}.operator`, operator, 'not a valid selector operator')]
  })
}

function dataSourceProblems(source: Fields, at: string): FieldProblem[] {
  const { name, kind, apiGroup } = source
  const isForeign = !apiGroup && kind !== 'PersistentVolumeClaim'
  return [
    ...(name ? [] : [required(`${at}.name`)]),
    ...(kind ? [] : [required(`${at}.kind`)]),
    ...(isForeign
      ? [invalidValue(at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")]
      : []),
  ]
}

/** Of a pod's volume that comes from a claim, or shows a certificate. */
export function podVolumeProblems(volume: Fields, at: string): FieldProblem[] {
  const { persistentVolumeClaim: claim, ephemeral, projected } = volume
  if (isFields(projected)) {
    return listAt(projected, 'sources').flatMap(({ podCertificate: source }, index) =>
      isFields(source) ? podCertificateSourceProblems(source, `${at}.projected.sources[${index}].podCertificate`) : [],
    )
  }
  if (isFields(claim)) return claim.claimName ? [] : [required(`${at}.persistentVolumeClaim.claimName`)]
  if (!isFields(ephemeral)) return []
  const template = ephemeral.volumeClaimTemplate
  const place = `${at}.ephemeral.volumeClaimTemplate`
  return isFields(template) ? claimProblems(partOf(template, 'spec'), `${place}.spec`) : [required(place)]
}

/** What may not change. */
export function volumeChangeProblems(resource: string, before: ApiObject, after: ApiObject): FieldProblem[] {
  const changed = resource === 'persistentvolumes' ? persistentVolumeChanges : claimChanges
  return changed(before, after)
}

const fieldImmutable = (old: unknown, now: unknown, at: string): FieldProblem[] =>
  sameJson(old, now) ? [] : [invalidValue(at, now ?? null, 'field is immutable')]

function persistentVolumeChanges(before: ApiObject, after: ApiObject): FieldProblem[] {
  const [old, now] = [partOf(before, 'spec'), partOf(after, 'spec')]
  // A reference to the secret of expansion may come later.
  const sourceOf = (spec: Fields): unknown =>
    Object.fromEntries(
      sources
        .filter((name) => spec[name] !== undefined)
        .map((name) => [
          name,
          name === 'csi' && !partOf(old, 'csi').controllerExpandSecretRef
            ? { ...partOf(spec, 'csi'), controllerExpandSecretRef: undefined }
            : spec[name],
        ]),
    )
  return [
    ...(sameJson(sourceOf(old), sourceOf(now))
      ? []
      : [forbidden('spec.persistentvolumesource', 'spec.persistentvolumesource is immutable after creation')]),
    ...fieldImmutable(old.volumeMode, now.volumeMode, 'volumeMode'),
    ...(old.nodeAffinity === undefined ? [] : fieldImmutable(old.nodeAffinity, now.nodeAffinity, 'nodeAffinity')),
  ]
}

const claimText =
  'spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims'

function claimChanges(before: ApiObject, after: ApiObject): FieldProblem[] {
  const [old, now] = [partOf(before, 'spec'), partOf(after, 'spec')]
  const storageOf = (spec: Fields): unknown => partOf(partOf(spec, 'resources'), 'requests').storage
  const status = partOf(after, 'status')
  const isBound = status.phase === 'Bound'
  const fixed = (spec: Fields): Fields => ({
    ...spec,
    // Who binds a claim names its volume; a claim without a class may be given one until then.
    volumeName: old.volumeName ? spec.volumeName : undefined,
    storageClassName: old.storageClassName === undefined && !old.volumeName ? undefined : spec.storageClassName,
    resources: isBound
      ? { ...partOf(spec, 'resources'), requests: { ...partOf(partOf(spec, 'resources'), 'requests'), storage: 0 } }
      : spec.resources,
    volumeAttributesClassName: isBound ? undefined : spec.volumeAttributesClassName,
  })
  const [oldSize, newSize] = [quantity(storageOf(old)), quantity(storageOf(now))]
  const capacity = quantity(partOf(status, 'capacity').storage ?? '0')
  return [
    ...(sameJson(fixed(old), fixed(now)) ? [] : [forbidden('spec', claimText)]),
    ...(newSize < oldSize && newSize <= capacity
      ? [forbidden('spec.resources.requests.storage', 'field can not be less than status.capacity')]
      : []),
    ...fieldImmutable(old.volumeMode, now.volumeMode, 'volumeMode'),
  ]
}

/** Values that are there twice. */
export const duplicateProblems = (values: readonly unknown[], at: (index: number) => string): FieldProblem[] =>
  values.flatMap((value, index) => (values.indexOf(value) < index ? [duplicate(at(index), value)] : []))
