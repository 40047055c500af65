// Data as a Pod: what the API has no field for, or is of another type, is told. Pure.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { podTypes } from '../gen/pod-types.ts'
import { parseMilliQuantity } from '../quantity.ts'

interface Faults {
  unknown: string[]
  others: string[]
}

interface Scalar {
  /** Its name in Go, which messages have. */
  name: string
  /** Stands where a list or map has null. */
  zero: unknown
  fits(value: unknown): boolean
}

const isWhole = (bits: number) => (value: unknown) =>
  Number.isInteger(value) && Number(value) >= -(2 ** (bits - 1)) && Number(value) <= 2 ** (bits - 1) - 1
const isText = (value: unknown): value is string => typeof value === 'string'
const isInt32 = isWhole(32)
const timestamp = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/

const scalars: Readonly<Record<string, Scalar>> = {
  string: { name: 'string', zero: '', fits: isText },
  boolean: { name: 'bool', zero: false, fits: (value) => typeof value === 'boolean' },
  int32: { name: 'int32', zero: 0, fits: isInt32 },
  int64: { name: 'int64', zero: 0, fits: isWhole(64) },
  intOrString: { name: 'intstr.IntOrString', zero: 0, fits: (value) => isText(value) || isInt32(value) },
  time: { name: 'v1.Time', zero: undefined, fits: (value) => isText(value) && timestamp.test(value) },
  any: { name: 'v1.FieldsV1', zero: {}, fits: () => true },
}

/**
 * A pod as the API decodes it. Nulls are fields that are not there.
 * @returns the pod; what keeps it from being one, of each value its field: it is of use when there is nothing; and the
 * fields that the API does not know, which it is without.
 */
export function decodePod(data: unknown): { pod: Pod; faults: string[]; unknown: string[] } {
  const faults: Faults = { unknown: [], others: [] }
  const pod = decoded('Pod', data, '', faults) as Pod
  return { pod, faults: faults.others, unknown: faults.unknown }
}

function decoded(type: string, value: unknown, path: string, faults: Faults): unknown {
  const inner = type.slice(0, -2)
  if (type.endsWith('[]')) {
    if (!Array.isArray(value)) return wrongType(value, path, `[]${goName(inner)}`, faults)
    return value.map((one: unknown, index) => decoded(inner, one ?? zeroOf(inner), `${path}[${index}]`, faults))
  }
  if (type.endsWith('{}')) {
    if (!isFields(value)) return wrongType(value, path, `map[string]${goName(inner)}`, faults)
    const entries = Object.entries(value)
    return Object.fromEntries(
      entries.map(([key, one]) => [key, decoded(inner, one ?? zeroOf(inner), `${path}[${key}]`, faults)]),
    )
  }
  if (type === 'quantity') return quantity(value, path, faults)
  const scalar = scalars[type]
  if (scalar) return scalar.fits(value) ? value : wrongType(value, path, scalar.name, faults)
  return isFields(value) ? fields(type, value, path, faults) : wrongType(value, path, goName(type), faults)
}

function fields(type: string, value: Record<string, unknown>, path: string, faults: Faults): Record<string, unknown> {
  const known = podTypes[type] ?? {}
  const entries: [string, unknown][] = []
  for (const [name, one] of Object.entries(value)) {
    const at = path ? `${path}.${name}` : name
    const inner = Object.hasOwn(known, name) ? known[name] : undefined
    if (inner === undefined) faults.unknown.push(at)
    else if (one !== null && one !== undefined) entries.push([name, decoded(inner, one, at, faults)])
  }
  return Object.fromEntries(entries)
}

function quantity(value: unknown, path: string, faults: Faults): unknown {
  try {
    if (!isText(value) && typeof value !== 'number') return wrongType(value, path, 'resource.Quantity', faults)
    parseMilliQuantity(value)
    return String(value)
  } catch {
    // The field and what is expected are told here, as the API server does.
    const pattern = '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
    faults.others.push(
      `${path}: Invalid value: ${JSON.stringify(value)}: quantities must match the regular expression '${pattern}'`,
    )
    return value
  }
}

function wrongType(value: unknown, path: string, want: string, faults: Faults): undefined {
  const kind = Array.isArray(value) ? 'array' : typeof value === 'boolean' ? 'bool' : typeof value
  const shown = value === null || typeof value === 'object' ? kind : `${kind} ${JSON.stringify(value)}`
  faults.others.push(`json: cannot unmarshal ${shown} into Go struct field Pod.${path} of type ${want}`)
}

const isFields = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const goName = (type: string): string =>
  type === 'quantity' ? 'resource.Quantity' : (scalars[type]?.name ?? `v1.${type}`)
const zeroOf = (type: string): unknown => (type === 'quantity' ? '0' : type in scalars ? scalars[type]?.zero : {})
