// Rules for the volumes of a pod. Pure.
import type { EmptyDirVolumeSource, HostPathVolumeSource, NFSVolumeSource } from 'kubernetes-types/core/v1.d.ts'
import { parseMilliQuantity } from '../../quantity.ts'
import type { NewerVolume } from '../../volume/image-volume.ts'
import { duplicate, type FieldErrors, forbidden, invalid, required } from '../field-error.ts'
import { checked, dnsLabel } from '../names.ts'
import { maybeOneOf, oneOf, withoutBacksteps } from '../values.ts'
import { downwardErrors, projectedErrors } from './downward.ts'
import { iscsiErrors } from './iscsi.ts'

/** Of sources, those are looked into that need no object of the API. */
export function* volumesErrors(volumes: readonly NewerVolume[] = []): FieldErrors {
  const names = new Set<string>()
  for (const [index, volume] of volumes.entries()) {
    const path = `spec.volumes[${index}]`
    const { name } = volume
    yield* sourceErrors(volume, path)
    if (name) yield* checked(`${path}.name`, name, dnsLabel)
    else yield required(`${path}.name`)
    if (name && names.has(name)) yield duplicate(`${path}.name`, name)
    names.add(name)
  }
}

function* sourceErrors(volume: NewerVolume, path: string): FieldErrors {
  const { name, emptyDir, hostPath, nfs, iscsi, downwardAPI, projected, image } = volume
  if (emptyDir) yield* emptyDirErrors(emptyDir, `${path}.emptyDir`)
  if (hostPath) yield* hostPathErrors(hostPath, `${path}.hostPath`)
  if (nfs) yield* nfsErrors(nfs, `${path}.nfs`)
  if (iscsi) yield* iscsiErrors(iscsi, name, path)
  if (downwardAPI) yield* downwardErrors(downwardAPI, `${path}.downwardAPI`)
  if (projected) yield* projectedErrors(projected, `${path}.projected`)
  if (image) {
    if (!image.reference) yield required(`${path}.image.reference`)
    yield* oneOf(`${path}.image.pullPolicy`, image.pullPolicy, ['Always', 'IfNotPresent', 'Never'])
  }
  const [first, ...more] = Object.keys(volume).filter((key) => key !== 'name')
  if (!first) yield required(path, 'must specify a volume type')
  for (const kind of more) yield forbidden(`${path}.${kind}`, 'may not specify more than 1 volume type')
}

function* emptyDirErrors({ sizeLimit }: EmptyDirVolumeSource, path: string): FieldErrors {
  if (sizeLimit !== undefined && parseMilliQuantity(sizeLimit) < 0n) {
    yield forbidden(`${path}.sizeLimit`, 'SizeLimit field must be a valid resource quantity')
  }
}

const hostPathTypes = [
  '',
  'BlockDevice',
  'CharDevice',
  'Directory',
  'DirectoryOrCreate',
  'File',
  'FileOrCreate',
  'Socket',
]

function* hostPathErrors({ path: target, type }: HostPathVolumeSource, path: string): FieldErrors {
  if (!target) return yield required(`${path}.path`)
  yield* withoutBacksteps(`${path}.path`, target)
  yield* maybeOneOf(`${path}.type`, type, hostPathTypes)
}

function* nfsErrors({ server, path: target }: NFSVolumeSource, path: string): FieldErrors {
  if (!server) yield required(`${path}.server`)
  if (!target) yield required(`${path}.path`)
  else if (!target.startsWith('/')) yield invalid(`${path}.path`, target, 'must be an absolute path')
}
