// The types of a Pod as a table, from the API's OpenAPI document: what manifests are decoded by.
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

interface Schema {
  $ref?: string
  allOf?: Schema[]
  type?: string
  format?: string
  properties?: Record<string, Schema>
  additionalProperties?: Schema
  items?: Schema
}

const openapi = resolve(import.meta.dirname, '../packages/local-cluster/openapi/api_v1.json')
/** Schemas that are one value. */
const scalars: Record<string, string> = {
  Quantity: 'quantity',
  IntOrString: 'intOrString',
  Time: 'time',
  FieldsV1: 'any',
}

/** Where the table is, below the root. */
export const podTypesFile = 'packages/kubelet-core/src/gen/pod-types.ts'

/** The text of {@link podTypesFile}. */
export function podTypesText(): string {
  const { schemas } = JSON.parse(readFileSync(openapi, 'utf8')) as { schemas: Record<string, Schema> }
  const types = new Map<string, Record<string, string>>()
  const typeOf = (schema: Schema): string => {
    const reference = schema.$ref ?? schema.allOf?.[0]?.$ref
    if (reference) return named(reference.slice(reference.lastIndexOf('/') + 1))
    if (schema.items) return `${typeOf(schema.items)}[]`
    if (schema.additionalProperties) return `${typeOf(schema.additionalProperties)}{}`
    return schema.format ?? schema.type ?? 'any'
  }
  const named = (full: string): string => {
    const name = full.slice(full.lastIndexOf('.') + 1)
    if (scalars[name]) return scalars[name]
    if (types.has(name)) return name
    const fields: Record<string, string> = {}
    types.set(name, fields)
    for (const [field, schema] of Object.entries(schemas[full]?.properties ?? {})) fields[field] = typeOf(schema)
    return name
  }
  named('io.k8s.api.core.v1.Pod')
  const rows = [...types].toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `// Made by tools/generate.ts from the OpenAPI document of Kubernetes v1.36; not edited.

/** The types that a Pod is made of, with their fields: a scalar or a type of the table, \`[]\` for a list of it, \`{}\` for a map. */
export const podTypes: Readonly<Record<string, Readonly<Record<string, string>>>> = {
${rows.map(([name, fields]) => `  ${name}: ${JSON.stringify(fields)},\n`).join('')}}
`
}
