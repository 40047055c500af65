// Rules for what containers mount. Pure.
import type { Container, Volume } from 'kubernetes-types/core/v1.d.ts'
import type { NewerMount } from '../../pod/mount-rules.ts'
import { type FieldErrors, forbidden, invalid, notFound, required } from '../field-error.ts'
import { descendingPath, maybeOneOf, withoutBacksteps } from '../values.ts'

export function* mountErrors(container: Container, path: string, volumes: readonly Volume[]): FieldErrors {
  const { volumeMounts = [], volumeDevices = [], securityContext } = container
  const known = new Set(volumes.map(({ name }) => name))
  const devices = new Set(volumeDevices.map(({ name }) => name))
  const devicePaths = new Set(volumeDevices.map(({ devicePath }) => devicePath))
  const taken = new Set<string>()
  for (const [index, mount] of volumeMounts.entries()) {
    const at = `${path}.volumeMounts[${index}]`
    const { name, mountPath } = mount
    if (!name) yield required(`${at}.name`)
    else if (!known.has(name)) yield notFound(`${at}.name`, name)
    if (devices.has(name)) yield invalid(`${at}.name`, name, 'must not already exist in volumeDevices')
    const field = `${at}.mountPath`
    if (!mountPath) yield required(field)
    else if (taken.has(mountPath)) yield invalid(field, mountPath, 'must be unique')
    taken.add(mountPath)
    if (devicePaths.has(mountPath)) yield invalid(field, mountPath, 'must not already exist as a path in volumeDevices')
    yield* subPathErrors(mount, at)
    yield* propagationErrors(mount, at, securityContext?.privileged === true)
    yield* recursionErrors(mount, `${at}.recursiveReadOnly`)
  }
}

function* subPathErrors({ subPath, subPathExpr }: NewerMount, at: string): FieldErrors {
  if (subPath) yield* descendingPath(`${at}.subPath`, subPath)
  if (!subPathExpr) return
  if (subPath) yield invalid(`${at}.subPathExpr`, subPathExpr, 'subPathExpr and subPath are mutually exclusive')
  yield* descendingPath(`${at}.subPathExpr`, subPathExpr)
}

function* propagationErrors({ mountPropagation: mode }: NewerMount, at: string, isPrivileged: boolean): FieldErrors {
  const field = `${at}.mountPropagation`
  yield* maybeOneOf(field, mode, ['Bidirectional', 'HostToContainer', 'None'])
  if (mode === 'Bidirectional' && !isPrivileged) {
    yield forbidden(field, 'Bidirectional mount propagation is available only to privileged containers')
  }
}

function* recursionErrors(mount: NewerMount, field: string): FieldErrors {
  const { recursiveReadOnly: mode, readOnly, mountPropagation = 'None' } = mount
  yield* maybeOneOf(field, mode, ['Disabled', 'Enabled', 'IfPossible'])
  if (mode !== 'Enabled' && mode !== 'IfPossible') return
  if (!readOnly) yield forbidden(field, 'may only be specified when readOnly is true')
  if (mountPropagation !== 'None') {
    yield forbidden(field, 'may only be specified when mountPropagation is None or not specified')
  }
}

export function* deviceErrors(container: Container, path: string, volumes: readonly Volume[]): FieldErrors {
  const { volumeMounts = [], volumeDevices = [] } = container
  const known = new Map(volumes.map((volume) => [volume.name, volume]))
  const mounts = new Set(volumeMounts.map(({ name }) => name))
  const mountPaths = new Set(volumeMounts.map(({ mountPath }) => mountPath))
  const names = new Set<string>()
  const paths = new Set<string>()
  for (const [index, { name, devicePath }] of volumeDevices.entries()) {
    const at = `${path}.volumeDevices[${index}]`
    const volume = known.get(name)
    if (!name) yield required(`${at}.name`)
    else if (!volume) yield notFound(`${at}.name`, name)
    else if (!volume.persistentVolumeClaim && !volume.ephemeral) {
      const detail = 'can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode'
      yield invalid(`${at}.name`, name, detail)
    }
    if (name && names.has(name)) yield invalid(`${at}.name`, name, 'must be unique')
    if (mounts.has(name)) yield invalid(`${at}.name`, name, 'must not already exist in volumeMounts')
    names.add(name)
    const field = `${at}.devicePath`
    if (!devicePath) yield required(field)
    else if (paths.has(devicePath)) yield invalid(field, devicePath, 'must be unique')
    else yield* withoutBacksteps(field, devicePath)
    if (mountPaths.has(devicePath)) yield invalid(field, devicePath, 'must not already exist as a path in volumeMounts')
    paths.add(devicePath)
  }
}
