// Patches: the four kinds that the API server takes, and JSON merge patches as pure functions.

import type { KubeObject } from './resources.ts'

/** One operation of a JSON patch, RFC 6902. */
export type JsonPatchOperation =
  | { op: 'add' | 'replace' | 'test'; path: string; value: unknown }
  | { op: 'remove'; path: string }
  | { op: 'move' | 'copy'; from: string; path: string }

/** A patch, ready to send. */
export interface Patch {
  readonly contentType: string
  readonly body: unknown
  /** Whether the server needs a `fieldManager`. */
  readonly apply?: true
}

/** A JSON patch (RFC 6902): operations in order; a failed `test` refuses all with code 422. */
export const jsonPatch = (operations: readonly JsonPatchOperation[]): Patch => ({
  contentType: 'application/json-patch+json',
  body: operations,
})

/** A JSON merge patch (RFC 7386): null removes, arrays are replaced whole. */
export const mergePatch = (changes: object): Patch => ({ contentType: 'application/merge-patch+json', body: changes })

/** A strategic merge patch: arrays with a merge key are merged by it; not for custom resources. */
export const strategicPatch = (changes: object): Patch => ({
  contentType: 'application/strategic-merge-patch+json',
  body: changes,
})

/** Server-side apply of the fields that this client wants to own. Needs `fieldManager`, and apiVersion and kind in the object. */
export const applyPatch = (wanted: KubeObject): Patch => ({
  // JSON is YAML; this is the content type that every server version takes.
  contentType: 'application/apply-patch+yaml',
  body: wanted,
  apply: true,
})

type Fields = Record<string, unknown>
const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Applies a JSON merge patch (RFC 7386) and leaves both arguments as they are. */
export const applyMergePatch = (target: unknown, patch: unknown): unknown => {
  if (!isFields(patch)) return patch
  const result = new Map(isFields(target) ? Object.entries(target) : [])
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) result.delete(key)
    else result.set(key, applyMergePatch(result.get(key), value))
  }
  return Object.fromEntries(result)
}

/**
 * The smallest JSON merge patch that makes `from` into `to`; undefined when nothing differs.
 * Fields that are undefined count as absent. A null in `to` cannot be expressed and reads as removal.
 */
export const mergePatchBetween = (from: object, to: object): object | undefined => {
  const changes = new Map<string, unknown>()
  const before = new Map(Object.entries(from))
  const after = new Map(Object.entries(to))
  for (const [key, value] of before) {
    if (value !== undefined && after.get(key) === undefined) changes.set(key, null)
  }
  for (const [key, value] of after) {
    const old = before.get(key)
    if (value === undefined) continue
    if (!isFields(old) || !isFields(value)) {
      if (!sameJson(old, value)) changes.set(key, value)
      continue
    }
    const inner = mergePatchBetween(old, value)
    if (inner) changes.set(key, inner)
  }
  return changes.size === 0 ? undefined : (Object.fromEntries(changes) as object)
}

const sameJson = (a: unknown, b: unknown): boolean => {
  if (a === b) return true
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => sameJson(item, b[i]))
  if (!isFields(a) || !isFields(b)) return false
  const keys = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...keys].every((key) => sameJson(a[key], b[key]))
}
