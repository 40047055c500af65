// Rules for resources: their names, their quantities and what goes with what. Pure.
import type { ResourceRequirements } from 'kubernetes-types/core/v1.d.ts'
import { parseMilliQuantity } from '../quantity.ts'
import { type FieldErrors, forbidden, invalid, required } from './field-error.ts'
import { qualifiedName } from './names.ts'

type NameRule = (name: string, field: string) => FieldErrors
type Quantities = Readonly<Record<string, string>>

const ofContainers = new Set(['cpu', 'memory', 'ephemeral-storage'])
const standard = new Set([
  ...['', 'requests.', 'limits.'].flatMap((kind) => [...ofContainers].map((name) => kind + name)),
  'storage',
  'requests.storage',
  'pods',
  'services',
  'services.nodeports',
  'services.loadbalancers',
  'replicationcontrollers',
  'resourcequotas',
  'secrets',
  'configmaps',
  'persistentvolumeclaims',
])

export const isHugePages = (name: string): boolean => name.startsWith('hugepages-')
const isNative = (name: string): boolean => !name.includes('/') || name.includes('kubernetes.io/')
const isExtended = (name: string): boolean =>
  !isNative(name) && !name.startsWith('requests.') && qualifiedName(`requests.${name}`).length === 0

/** A name is one of the API's, or qualified by a domain. */
export function* resourceNameErrors(name: string, field: string): FieldErrors {
  const details = qualifiedName(name)
  for (const detail of details) yield invalid(field, name, detail)
  const isPlain = details.length === 0 && !name.includes('/')
  if (isPlain && !standard.has(name) && !isHugePages(name.replace(/^requests\./, ''))) {
    yield invalid(field, name, 'must be a standard resource type or fully qualified')
  }
}

function* containerNameErrors(name: string, field: string): FieldErrors {
  yield* resourceNameErrors(name, field)
  if (!name.includes('/')) {
    if (ofContainers.has(name) || isHugePages(name)) return
    yield invalid(field, name, 'must be a standard resource for containers')
  } else if (!isNative(name) && !isExtended(name)) {
    yield invalid(field, name, "doesn't follow extended resource name standard")
  }
}

/** @param nameErrors what names there may be; default those of containers */
export function* resourcesErrors(
  { limits = {}, requests = {} }: ResourceRequirements,
  path: string,
  nameErrors: NameRule = containerNameErrors,
): FieldErrors {
  yield* quantitiesErrors(limits, `${path}.limits`, nameErrors)
  for (const [name, value] of Object.entries(requests)) {
    yield* quantityErrors(name, value, `${path}.requests[${name}]`, nameErrors)
    yield* overcommitErrors(name, value, limits[name], path)
  }
  yield* companyErrors([...Object.keys(limits), ...Object.keys(requests)], path)
}

/** `spec.overhead`: quantities alone. */
export function* overheadErrors(overhead: Quantities = {}): FieldErrors {
  yield* quantitiesErrors(overhead, 'spec.overhead', containerNameErrors)
  yield* companyErrors(Object.keys(overhead), 'spec.overhead')
}

function* quantitiesErrors(quantities: Quantities, path: string, nameErrors: NameRule): FieldErrors {
  for (const [name, value] of Object.entries(quantities)) {
    yield* quantityErrors(name, value, `${path}[${name}]`, nameErrors)
  }
}

function* quantityErrors(name: string, value: string, field: string, nameErrors: NameRule): FieldErrors {
  yield* nameErrors(name, field)
  const milli = parseMilliQuantity(value)
  if (milli < 0n) yield invalid(field, value, 'must be greater than or equal to 0')
  if (isExtended(name) && milli % 1000n !== 0n) yield invalid(field, value, 'must be an integer')
  if (isHugePages(name) && !isMultiple(milli, name.slice('hugepages-'.length))) {
    yield invalid(field, value, `${value} is not positive integer multiple of ${name}`)
  }
}

function isMultiple(milli: bigint, pageSize: string): boolean {
  try {
    const size = parseMilliQuantity(pageSize)
    return size > 0n && size % 1000n === 0n && milli % size === 0n
  } catch {
    // No size: nothing is a multiple of it.
    return false
  }
}

/** What can't be shared out twice is requested as it is limited. */
function* overcommitErrors(name: string, request: string, limit: string | undefined, path: string): FieldErrors {
  const isShared = isNative(name) && !isHugePages(name)
  if (limit === undefined) {
    if (!isShared) yield required(`${path}.limits`, 'Limit must be set for non overcommitable resources')
    return
  }
  const over = parseMilliQuantity(request) - parseMilliQuantity(limit)
  const field = `${path}.requests`
  if (!isShared && over !== 0n) yield invalid(field, request, `must be equal to ${name} limit of ${limit}`)
  else if (over > 0n) yield invalid(field, request, `must be less than or equal to ${name} limit of ${limit}`)
}

function* companyErrors(names: readonly string[], path: string): FieldErrors {
  if (names.some(isHugePages) && !names.includes('cpu') && !names.includes('memory')) {
    yield forbidden(path, 'HugePages require cpu or memory')
  }
}
