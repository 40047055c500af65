// The kinds of storage.k8s.io: what is wrong with them, and what of them may not change. Pure.
import { forbidden, invalidValue, required, tooLong, unsupported } from '../api/errors.ts'
import type { FieldProblem } from '../api/errors.ts'
import { isFields, listAt, sameJson } from '../object.ts'
import type { ApiObject, Fields } from '../object.ts'
import { quantity } from './quantity.ts'
import { driverNameProblems, duplicateProblems, nameProblems, selectorProblems } from './volumes.ts'

const partOf = (object: Fields, key: string): Fields => (isFields(object[key]) ? object[key] : {})
const oneOf = (value: unknown, known: readonly string[], at: string): FieldProblem[] =>
  known.includes(String(value)) ? [] : [unsupported(at, value, known)]

export function storageProblems(resource: string, object: ApiObject): FieldProblem[] {
  switch (resource) {
    case 'storageclasses':
      return classProblems(object)
    case 'csidrivers':
      return [...driverNameProblems(object.metadata.name, 'name'), ...driverProblems(partOf(object, 'spec'))]
    case 'csinodes':
      return nodeProblems(partOf(object, 'spec'))
    case 'volumeattachments':
      return attachmentProblems(object)
    case 'csistoragecapacities':
      return capacityProblems(object)
    default:
      return []
  }
}

const qualifiedName =
  /^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?[a-z0-9]([-a-z0-9_.]{0,61}[a-z0-9])?$/
const qualifiedText =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
const mostParameters = 512

function classProblems({ provisioner, parameters, reclaimPolicy, volumeBindingMode }: ApiObject): FieldProblem[] {
  const problems: FieldProblem[] = []
  if (typeof provisioner !== 'string' || provisioner === '') problems.push(required('provisioner'))
  else if (!qualifiedName.test(provisioner.toLowerCase())) {
    problems.push(invalidValue('provisioner', provisioner, qualifiedText))
  }
  const names = isFields(parameters) ? Object.keys(parameters) : []
  if (names.length > mostParameters) problems.push(tooLong('parameters', mostParameters))
  if (names.includes('')) problems.push(invalidValue('parameters', 0, 'field can not be empty.'))
  problems.push(
    ...oneOf(reclaimPolicy, ['Delete', 'Retain'], 'reclaimPolicy'),
    ...oneOf(volumeBindingMode, ['Immediate', 'WaitForFirstConsumer'], 'volumeBindingMode'),
  )
  return problems
}

const shortestTokenSeconds = 600
const longestTokenSeconds = 2 ** 32
const shortestPeriodSeconds = 10

function driverProblems(spec: Fields): FieldProblem[] {
  const { nodeAllocatableUpdatePeriodSeconds: period } = spec
  const modes = Array.isArray(spec.volumeLifecycleModes) ? (spec.volumeLifecycleModes as unknown[]) : []
  const tokens = listAt(spec, 'tokenRequests')
  return [
    ...oneOf(spec.fsGroupPolicy, ['File', 'None', 'ReadWriteOnceWithFSType'], 'spec.fsGroupPolicy'),
    ...modes.flatMap((mode) => oneOf(mode, ['Ephemeral', 'Persistent'], 'spec.volumeLifecycleModes')),
    ...tokens.flatMap(({ expirationSeconds: seconds }, index) =>
      tokenProblems(seconds, `spec.tokenRequests[${index}].expirationSeconds`),
    ),
    ...duplicateProblems(
      tokens.map(({ audience }) => audience),
      (index) => `spec.tokenRequests[${index}].audience`,
    ),
    ...(typeof period === 'number' && period < shortestPeriodSeconds
      ? [invalidValue('spec.nodeAllocatableUpdatePeriodSeconds', period, 'must be greater than or equal to 10 seconds')]
      : []),
  ]
}

function tokenProblems(seconds: unknown, at: string): FieldProblem[] {
  if (typeof seconds !== 'number') return []
  if (seconds < shortestTokenSeconds) {
    return [invalidValue(at, seconds, 'may not specify a duration less than 10 minutes')]
  }
  return seconds > longestTokenSeconds
    ? [invalidValue(at, seconds, 'may not specify a duration larger than 2^32 seconds')]
    : []
}

const longestNodeId = 256

function nodeProblems(spec: Fields): FieldProblem[] {
  const drivers = listAt(spec, 'drivers')
  return [
    ...drivers.flatMap(({ name, nodeID, allocatable }, index) => {
      const at = `spec.drivers[${index}]`
      const id = typeof nodeID === 'string' ? nodeID : ''
      const count = isFields(allocatable) ? allocatable.count : undefined
      return [
        ...driverNameProblems(name, `${at}.name`),
        ...(id === '' ? [required(`${at}.nodeID`)] : []),
        ...(id.length > longestNodeId
          ? [invalidValue(`${at}.nodeID`, id, `must be ${longestNodeId} characters or less`)]
          : []),
        ...(typeof count === 'number' && count < 0
          ? [invalidValue(`${at}.allocatable.count`, count, 'must be greater than or equal to 0')]
          : []),
      ]
    }),
    ...duplicateProblems(
      drivers.map(({ name }) => name),
      (index) => `spec.drivers[${index}].name`,
    ),
  ]
}

const longestMessage = 1024

function attachmentProblems(object: ApiObject): FieldProblem[] {
  const spec = partOf(object, 'spec')
  const source = partOf(spec, 'source')
  const [hasVolume, hasName] = [isFields(source.inlineVolumeSpec), source.persistentVolumeName !== undefined]
  const exactlyOne = 'must specify exactly one of inlineVolumeSpec and persistentVolumeName'
  const problems = driverNameProblems(spec.attacher, 'spec.attacher')
  if (!hasVolume && !hasName) problems.push(required('spec.source', exactlyOne))
  else if (hasVolume && hasName) problems.push(forbidden('spec.source', exactlyOne))
  else if (hasName && source.persistentVolumeName === '') {
    problems.push(required('spec.source.persistentVolumeName', 'must specify non empty persistentVolumeName'))
  }
  if (typeof spec.nodeName !== 'string' || spec.nodeName === '') problems.push(required('spec.nodeName'))
  else problems.push(...nameProblems(spec.nodeName, 'spec.nodeName'))
  for (const field of ['attachError', 'detachError']) {
    const { message } = partOf(partOf(object, 'status'), field)
    if (typeof message === 'string' && Buffer.byteLength(message) > longestMessage) {
      problems.push(tooLong(`status.${field}.message`, longestMessage))
    }
  }
  return problems
}

function capacityProblems({ nodeTopology, storageClassName, capacity, maximumVolumeSize }: ApiObject): FieldProblem[] {
  const amount = (value: unknown, at: string): FieldProblem[] =>
    value !== undefined && !(quantity(value) >= 0)
      ? [invalidValue(at, value, 'must be greater than or equal to 0')]
      : []
  return [
    ...(isFields(nodeTopology) ? selectorProblems(nodeTopology, 'nodeTopology') : []),
    ...nameProblems(String(storageClassName ?? ''), 'storageClassName'),
    ...amount(capacity, 'capacity'),
    ...amount(maximumVolumeSize, 'maximumVolumeSize'),
  ]
}

const immutable = (old: unknown, now: unknown, at: string): FieldProblem[] =>
  sameJson(old, now) ? [] : [invalidValue(at, now ?? null, 'field is immutable')]

/** What may not change. */
export function storageChangeProblems(resource: string, before: ApiObject, after: ApiObject): FieldProblem[] {
  const [old, now] = [partOf(before, 'spec'), partOf(after, 'spec')]
  switch (resource) {
    case 'storageclasses':
      return [
        ...['parameters', 'provisioner', 'reclaimPolicy'].flatMap((name) =>
          sameJson(before[name], after[name]) ? [] : [forbidden(name, `updates to ${name} are forbidden.`)],
        ),
        ...immutable(before.volumeBindingMode, after.volumeBindingMode, 'volumeBindingMode'),
      ]
    case 'csidrivers':
      return [
        // The API server spells this field so.
        ...immutable(old.attachRequired, now.attachRequired, 'spec.attachedRequired'),
        ...immutable(old.volumeLifecycleModes, now.volumeLifecycleModes, 'spec.volumeLifecycleModes'),
      ]
    case 'csinodes':
      return nodeChangeProblems(old, now)
    case 'volumeattachments':
      return immutable(old, now, 'spec')
    case 'csistoragecapacities':
      return ['nodeTopology', 'storageClassName'].flatMap((name) => immutable(before[name], after[name], name))
    default:
      return []
  }
}

/** A driver of a node is what it is, but for how many volumes it can have there. */
function nodeChangeProblems(old: Fields, now: Fields): FieldProblem[] {
  const fixed = (driver: Fields): Fields => ({ ...driver, allocatable: undefined })
  return listAt(old, 'drivers').flatMap((driver) =>
    listAt(now, 'drivers')
      .filter((other) => other.name === driver.name && !sameJson(fixed(other), fixed(driver)))
      .map((other) => invalidValue('CSINodeDriver', other, 'field is immutable')),
  )
}
