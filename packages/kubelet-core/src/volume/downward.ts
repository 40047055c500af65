// The pod's own data as file contents or environment values. Pure.
import type { Container, ObjectFieldSelector, Pod, ResourceFieldSelector } from 'kubernetes-types/core/v1.d.ts'
import { parseMilliQuantity, parseQuantity } from '../quantity.ts'

/** What a container without a limit may use: what the node has for pods. */
export interface Allocatable {
  milliCpu: bigint
  memoryBytes: bigint
}

/**
 * A field of the pod's metadata; labels and annotations are lines `key="value"` sorted by key.
 * @throws Error naming a path that is not one of these
 */
export function metadataField({ metadata }: Pod, { fieldPath }: ObjectFieldSelector): string {
  const subscript = /^metadata\.(labels|annotations)\['(.*)'\]$/.exec(fieldPath)
  if (subscript?.[1] && subscript[2] !== undefined) {
    return metadata?.[subscript[1] === 'labels' ? 'labels' : 'annotations']?.[subscript[2]] ?? ''
  }
  switch (fieldPath) {
    case 'metadata.name':
      return metadata?.name ?? ''
    case 'metadata.namespace':
      return metadata?.namespace ?? ''
    case 'metadata.uid':
      return metadata?.uid ?? ''
    case 'metadata.labels':
      return formatMap(metadata?.labels)
    case 'metadata.annotations':
      return formatMap(metadata?.annotations)
    default:
      throw new Error(`unsupported fieldPath: ${fieldPath}`)
  }
}

function formatMap(map: Readonly<Record<string, string>> = {}): string {
  return Object.keys(map)
    .toSorted()
    .map((key) => `${key}=${goQuote(map[key] ?? '')}`)
    .join('\n')
}

const goEscapes: Record<string, string> = {
  '"': '\\"',
  '\\': '\\\\',
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
}

/** As Go's strconv.Quote: what is not printable is escaped. */
function goQuote(text: string): string {
  const escaped = text.replace(/["\\]|(?! )[\p{C}\p{Z}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0
    const hex = code.toString(16)
    if (code < 0x80) return goEscapes[character] ?? `\\x${hex.padStart(2, '0')}`
    return code > 0xffff ? `\\U${hex.padStart(8, '0')}` : `\\u${hex.padStart(4, '0')}`
  })
  return `"${escaped}"`
}

/**
 * A request or limit of a container, divided and rounded up; a missing limit is what the node has.
 * @throws Error naming a container or resource that is not there
 */
export function resourceField(
  pod: Pod,
  { containerName, resource, divisor = '1' }: ResourceFieldSelector,
  allocatable: Allocatable,
): string {
  const containers: Container[] = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])]
  const container = containers.find(({ name }) => name === containerName)
  if (!container) throw new Error(`container ${containerName} not found`)
  const match = /^(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-.+)$/.exec(resource)
  const name = match?.[2]
  if (!name) throw new Error(`unsupported container resource : ${resource}`)
  const text = container.resources?.[match[1] === 'limits' ? 'limits' : 'requests']?.[name]
  const parse = name === 'cpu' ? parseMilliQuantity : parseQuantity
  const fallback = match[1] === 'limits' ? ceiling(name, allocatable) : 0n
  const value = text === undefined ? fallback : parse(text, resource)
  const unit = parse(divisor, `divisor of ${resource}`) || parse('1')
  return String((value + unit - 1n) / unit)
}

function ceiling(resource: string, { milliCpu, memoryBytes }: Allocatable): bigint {
  return resource === 'cpu' ? milliCpu : resource === 'memory' ? memoryBytes : 0n
}
