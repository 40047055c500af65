// Rules for the environment of containers. Pure.
import type { EnvFromSource, EnvVar, Volume } from 'kubernetes-types/core/v1.d.ts'
import { type FileKeyRef, fileKeyRefOf } from '../../pod/file-key-ref.ts'
import { fieldRefErrors, resourceFieldRefErrors } from '../field-refs.ts'
import { type FieldErrors, invalid, notFound, required } from '../field-error.ts'
import { checked, dnsLabel, variableName } from '../names.ts'
import { withoutBacksteps } from '../values.ts'

const fieldPaths = [
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
  'spec.nodeName',
  'spec.serviceAccountName',
  'status.hostIP',
  'status.hostIPs',
  'status.podIP',
  'status.podIPs',
]
const sources = ['fieldRef', 'resourceFieldRef', 'configMapKeyRef', 'secretKeyRef', 'fileKeyRef']

export function* envErrors(env: readonly EnvVar[], path: string, volumes: readonly Volume[]): FieldErrors {
  for (const [index, variable] of env.entries()) {
    const at = `${path}[${index}]`
    if (variable.name) yield* checked(`${at}.name`, variable.name, variableName)
    else yield required(`${at}.name`)
    yield* valueFromErrors(variable, `${at}.valueFrom`, volumes)
  }
}

function* valueFromErrors(variable: EnvVar, path: string, volumes: readonly Volume[]): FieldErrors {
  const { value, valueFrom } = variable
  if (!valueFrom) return
  const { fieldRef, resourceFieldRef } = valueFrom
  if (fieldRef) yield* fieldRefErrors(fieldRef, `${path}.fieldRef`, fieldPaths)
  if (resourceFieldRef) yield* resourceFieldRefErrors(resourceFieldRef, `${path}.resourceFieldRef`)
  const fileKeyRef = fileKeyRefOf(variable)
  if (fileKeyRef) yield* fileKeyErrors(fileKeyRef, `${path}.fileKeyRef`, volumes)
  const count = Object.keys(valueFrom).length
  if (count === 0) {
    const [last = '', ...others] = sources.map((name) => `\`${name}\``).toReversed()
    yield invalid(path, '', `must specify one of: ${others.toReversed().join(', ')} or ${last}`)
  } else if (value) yield invalid(path, '', 'may not be specified when `value` is not empty')
  else if (count > 1) yield invalid(path, '', 'may not have more than one field specified at a time')
}

function* fileKeyErrors(ref: FileKeyRef, path: string, volumes: readonly Volume[]): FieldErrors {
  if (ref.key) yield* checked(`${path}.key`, ref.key, variableName)
  else yield required(`${path}.key`)
  if (ref.path) yield* withoutBacksteps(`${path}.path`, ref.path)
  else yield required(`${path}.path`)
  const field = `${path}.volumeName`
  if (!ref.volumeName) return yield required(field)
  yield* checked(field, ref.volumeName, dnsLabel)
  const volume = volumes.find(({ name }) => name === ref.volumeName)
  if (!volume) yield notFound(field, ref.volumeName)
  else if (!volume.emptyDir) yield invalid(field, ref.volumeName, 'referenced volume must be of type emptyDir')
}

export function* envFromErrors(envFrom: readonly EnvFromSource[], path: string): FieldErrors {
  for (const [index, { prefix, configMapRef, secretRef }] of envFrom.entries()) {
    const at = `${path}[${index}]`
    if (prefix) yield* checked(`${at}.prefix`, prefix, variableName)
    if (!configMapRef && !secretRef) yield invalid(at, '', 'must specify one of: `configMapRef` or `secretRef`')
    if (configMapRef && secretRef) yield invalid(at, '', 'may not have more than one field specified at a time')
  }
}
