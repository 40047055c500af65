// The structure of kinds, from their OpenAPI: which fields there are, of what type, and how lists merge.
import { readFileSync } from 'node:fs'
import { isFields } from '../object.ts'

/** A schema of OpenAPI v3, as far as the API server's documents use it. */
export interface Schema {
  $ref?: string
  allOf?: Schema[]
  type?: string
  format?: string
  properties?: Record<string, Schema>
  additionalProperties?: Schema | boolean
  items?: Schema
  'x-kubernetes-patch-merge-key'?: string
  'x-kubernetes-patch-strategy'?: string
  'x-kubernetes-int-or-string'?: boolean
}

interface Document {
  paths: Record<string, Record<string, { action: string; kind: string; parameters: string[] }>>
  schemas: Record<string, Schema>
}

const documents = new Map<string, Document>()

/** The document of a group and version such as `apps/v1`; undefined when there is none. */
export function documentOf(groupVersion: string): Document | undefined {
  const known = documents.get(groupVersion)
  if (known) return known
  const name = groupVersion === 'v1' ? 'api_v1' : `apis_${groupVersion.replace('/', '_')}`
  const file = new URL(`../../openapi/${name}.json`, import.meta.url)
  try {
    const document = JSON.parse(readFileSync(file, 'utf8')) as Document
    documents.set(groupVersion, document)
    return document
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

const packageOf = (groupVersion: string): string => {
  const [group, version] = groupVersion === 'v1' ? ['core', 'v1'] : groupVersion.split('/')
  return `io.k8s.api.${(group ?? '').replace(/\.k8s\.io$/, '')}.${version}`
}

/** A place within a schema. */
export interface Place {
  schema: Schema
  document: Document
}

const refPrefix = '#/components/schemas/'

function resolve({ schema, document }: Place): Place {
  const reference = schema.$ref ?? schema.allOf?.[0]?.$ref
  const target = reference === undefined ? undefined : document.schemas[reference.slice(refPrefix.length)]
  return target ? { schema: target, document } : { schema, document }
}

/** The schema of a kind; undefined when it is not known. */
export function schemaOf(groupVersion: string, kind: string): Place | undefined {
  const document = documentOf(groupVersion)
  const schema = document?.schemas[`${packageOf(groupVersion)}.${kind}`]
  return document && schema && { schema, document }
}

/** How a field is merged by a strategic merge patch. */
export interface FieldPlace extends Place {
  mergeKey?: string
  strategies: string[]
}

/** A field of an object, or a value of a map. */
export function fieldOf(place: Place | undefined, name: string): FieldPlace | undefined {
  if (!place) return undefined
  const { schema, document } = resolve(place)
  const own = schema.properties?.[name]
  const found = own ?? (isFields(schema.additionalProperties) ? (schema.additionalProperties as Schema) : undefined)
  if (!found) return undefined
  const mergeKey = found['x-kubernetes-patch-merge-key']
  const strategies = found['x-kubernetes-patch-strategy']?.split(',') ?? []
  return { schema: found, document, ...(mergeKey !== undefined && { mergeKey }), strategies }
}

export function itemOf(place: Place | undefined): Place | undefined {
  if (!place) return undefined
  const { schema, document } = resolve(place)
  return schema.items && { schema: schema.items, document }
}

/** What a body has that its kind does not: unknown fields by path, and the first value of a wrong type. */
export interface Misfits {
  unknown: string[]
  wrongType?: { path: string; got: string; want: string }
}

/** Compares a value with its schema. */
export function findMisfits(place: Place, value: unknown, path = ''): Misfits {
  const misfits: Misfits = { unknown: [] }
  visit(place, value, path, misfits)
  return misfits
}

const goTypes: Record<string, string> = { string: 'string', boolean: 'bool', integer: 'int32', number: 'float64' }

function visit(place: Place, value: unknown, path: string, misfits: Misfits): void {
  const resolved = resolve(place)
  const { schema } = resolved
  if (
    value === null ||
    value === undefined ||
    schema['x-kubernetes-int-or-string'] ||
    schema.format === 'int-or-string'
  )
    return
  const { type } = schema
  const wrong = (want: string): void => {
    misfits.wrongType ??= { path, got: goName(value), want }
  }
  if (schema.properties) {
    if (!isFields(value)) return wrong('object')
    for (const [name, part] of Object.entries(value)) {
      const at = path === '' ? name : `${path}.${name}`
      const field = fieldOf(place, name)
      if (field) visit(field, part, at, misfits)
      else misfits.unknown.push(at)
    }
  } else if (type === 'array') {
    if (!Array.isArray(value)) return wrong('array')
    const item = itemOf(place)
    if (item) for (const [index, part] of value.entries()) visit(item, part, `${path}[${index}]`, misfits)
  } else if (type === 'object') {
    if (!isFields(value)) return wrong('object')
    if (!isFields(schema.additionalProperties)) return
    for (const [name, part] of Object.entries(value)) {
      const field = fieldOf(place, name)
      if (field) visit(field, part, `${path}.${name}`, misfits)
    }
  } else if (type === 'integer' ? !Number.isInteger(value) : type !== undefined && typeof value !== type) {
    wrong(schema.format === 'int64' ? 'int64' : (goTypes[type ?? ''] ?? String(type)))
  }
}

function goName(value: unknown): string {
  if (Array.isArray(value)) return 'array'
  return { boolean: 'bool', object: 'object', string: 'string', number: 'number' }[typeof value as string] ?? 'value'
}
