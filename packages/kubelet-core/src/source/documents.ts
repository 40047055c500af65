// The documents of a manifest's text, read as Kubernetes' own tools read YAML. Pure.
import { isAlias, isMap, isNode, isScalar, isSeq, parseAllDocuments, type Tags } from 'yaml'
import { ManifestError } from './manifest-error.ts'

/** What JSON has not; dates are text to Kubernetes. And `.`, which is a number by YAML 1.1's own rule. */
const foreign = /:(binary|omap|pairs|set|timestamp|float)$/
const tagsOf = (tags: Tags): Tags => [
  ...tags.filter((tag) => typeof tag === 'string' || !(tag.format === 'TIME' || foreign.test(tag.tag))),
  'intOct',
  'float',
  'floatExp',
]

/**
 * The documents of a text, JSON or YAML 1.1, where `0644` is octal and `yes` a boolean; empty ones are left out.
 * @throws ManifestError
 */
export function documentsOf(text: string): unknown[] {
  try {
    const documents = parseAllDocuments(text, {
      version: '1.1',
      customTags: tagsOf,
      resolveKnownTags: false,
      uniqueKeys: false,
    })
    // An empty text is an array with a property.
    const all = Array.isArray(documents) ? documents : []
    return all.flatMap((document) => {
      const [error] = document.errors
      if (error) throw error
      const twice = [...new Set(duplicateFields(document.contents))]
      if (twice.length > 0) throw new ManifestError(`strict decoding error: ${twice.join(', ')}`)
      const value: unknown = document.toJS()
      return value === null || value === undefined ? [] : [value]
    })
  } catch (error) {
    if (error instanceof ManifestError) throw error
    throw new ManifestError(`neither JSON nor YAML: ${(error as Error).message.split('\n')[0]}`)
  }
}

/**
 * `duplicate field "spec.containers"` for each that a map has more than once.
 * @param around anchors of the nodes that this one is in
 */
function* duplicateFields(node: unknown, path = '', around: readonly unknown[] = []): Generator<string, void> {
  if (isAlias(node) && around.includes(node.source)) throw new Error(`*${node.source} stands for what it is in`)
  const anchors = isNode(node) && !isAlias(node) && node.anchor ? [...around, node.anchor] : around
  if (isSeq(node)) {
    for (const [index, item] of node.items.entries()) yield* duplicateFields(item, `${path}[${index}]`, anchors)
  }
  if (!isMap(node)) return
  const seen = new Set<string>()
  for (const { key, value } of node.items) {
    const name = isScalar(key) ? String(key.value) : String(key)
    const at = path ? `${path}.${name}` : name
    if (seen.has(name)) yield `duplicate field ${JSON.stringify(at)}`
    seen.add(name)
    yield* duplicateFields(value, at, anchors)
  }
}
