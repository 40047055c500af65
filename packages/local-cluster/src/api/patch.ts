// Patches: JSON patch (RFC 6902) and strategic merge. Pure: arguments stay as they are.
import { isFields, sameJson } from '../object.ts'
import type { Fields } from '../object.ts'
import { fieldOf, itemOf } from '../kinds/schema.ts'
import type { FieldPlace, Place } from '../kinds/schema.ts'

/** A patch that can't be applied: the object is not as it says. */
export class PatchError extends Error {
  override readonly name = 'PatchError'
}

interface Operation {
  op: string
  path: string
  from?: string
  value?: unknown
}

/** @throws PatchError when an operation does not fit */
export function applyJsonPatch(target: unknown, operations: unknown): unknown {
  if (!Array.isArray(operations)) throw new PatchError('a JSON patch is a list of operations')
  return (operations as Operation[]).reduce(applyOperation, structuredClone(target))
}

const pointer = (path: string): string[] => {
  if (path !== '' && !path.startsWith('/')) throw new PatchError(`path ${JSON.stringify(path)} must begin with "/"`)
  return path
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function applyOperation(root: unknown, { op, path, from, value }: Operation): unknown {
  const parts = pointer(path)
  switch (op) {
    case 'test':
      if (!sameJson(valueAt(root, parts), value)) throw new PatchError(`testing value ${path} failed`)
      return root
    case 'add':
      return write(root, parts, structuredClone(value), 'add')
    case 'replace':
      valueAt(root, parts)
      return write(root, parts, structuredClone(value), 'replace')
    case 'remove':
      valueAt(root, parts)
      return write(root, parts, undefined, 'remove')
    case 'copy':
      return write(root, parts, structuredClone(valueAt(root, pointer(from ?? ''))), 'add')
    case 'move': {
      const moved = valueAt(root, pointer(from ?? ''))
      return write(write(root, pointer(from ?? ''), undefined, 'remove'), parts, moved, 'add')
    }
    default:
      throw new PatchError(`unknown operation ${JSON.stringify(op)}`)
  }
}

function valueAt(root: unknown, parts: readonly string[]): unknown {
  return parts.reduce<unknown>((value, part) => {
    const next = Array.isArray(value)
      ? (value as unknown[])[indexIn(value, part, 0)]
      : isFields(value)
        ? value[part]
        : undefined
    if (next === undefined) throw new PatchError(`there is nothing at "/${parts.join('/')}"`)
    return next
  }, root)
}

function indexIn(list: readonly unknown[], part: string, more: number): number {
  const index = part === '-' ? list.length : /^(0|[1-9]\d*)$/.test(part) ? Number(part) : Number.NaN
  if (!(index < list.length + more)) throw new PatchError(`index ${JSON.stringify(part)} is outside of the list`)
  return index
}

function write(root: unknown, parts: readonly string[], value: unknown, how: 'add' | 'replace' | 'remove'): unknown {
  const last = parts.at(-1)
  if (last === undefined) return value
  const parent = valueAt(root, parts.slice(0, -1))
  if (Array.isArray(parent)) {
    const index = indexIn(parent, last, how === 'add' ? 1 : 0)
    if (how === 'remove') parent.splice(index, 1)
    else parent.splice(index, how === 'add' ? 0 : 1, value)
  } else if (isFields(parent)) {
    if (how === 'remove') delete parent[last]
    else parent[last] = value
  } else throw new PatchError(`there is nothing at "/${parts.slice(0, -1).join('/')}"`)
  return root
}

const directives = ['$patch', '$retainKeys'] as const

/**
 * Applies a strategic merge patch: maps are merged, lists with a merge key by that key, others replaced; null removes.
 * @param place the schema of the target; without one it is a plain merge patch
 */
export function applyStrategicPatch(target: unknown, patch: unknown, place: Place | undefined): unknown {
  if (!isFields(patch)) return patch
  const base: Fields = isFields(target) ? target : {}
  if (patch.$patch === 'delete') return undefined
  if (patch.$patch === 'replace') return withoutDirectives(patch)
  const retained = Array.isArray(patch.$retainKeys) ? (patch.$retainKeys as unknown[]) : undefined
  const result: Fields = Object.fromEntries(Object.entries(base).filter(([key]) => !retained || retained.includes(key)))
  for (const [key, value] of Object.entries(patch)) {
    const deleted = /^\$deleteFromPrimitiveList\/(.*)$/.exec(key)?.[1]
    const order = /^\$setElementOrder\/(.*)$/.exec(key)?.[1]
    if ((directives as readonly string[]).includes(key) || order !== undefined) continue
    if (deleted !== undefined) {
      const gone = Array.isArray(value) ? (value as unknown[]) : []
      if (Array.isArray(result[deleted]))
        result[deleted] = (result[deleted] as unknown[]).filter((one) => !gone.includes(one))
    } else if (value === null) delete result[key]
    else assign(result, key, mergeField(result[key], value, fieldOf(place, key)))
  }
  for (const [key, value] of Object.entries(patch)) {
    const name = /^\$setElementOrder\/(.*)$/.exec(key)?.[1]
    if (name !== undefined && Array.isArray(result[name]) && Array.isArray(value)) {
      result[name] = inOrder(result[name] as unknown[], value as unknown[], fieldOf(place, name)?.mergeKey)
    }
  }
  return result
}

function assign(result: Fields, key: string, value: unknown): void {
  if (value === undefined) delete result[key]
  else Object.defineProperty(result, key, { value, enumerable: true, configurable: true, writable: true })
}

const withoutDirectives = (patch: Fields): Fields =>
  Object.fromEntries(Object.entries(patch).filter(([key]) => !key.startsWith('$')))

function mergeField(target: unknown, value: unknown, place: FieldPlace | undefined): unknown {
  if (isFields(value)) {
    // A volume has one source: a new one takes the place of the old.
    const isReplaced =
      place?.strategies.includes('replace') || (place?.strategies.includes('retainKeys') && !value.$retainKeys)
    return applyStrategicPatch(
      isReplaced && !('$patch' in value) && place?.strategies.includes('replace') ? {} : target,
      value,
      place,
    )
  }
  if (!Array.isArray(value) || !place?.strategies.includes('merge')) return value
  const list = Array.isArray(target) ? (target as unknown[]) : []
  const { mergeKey } = place
  if (mergeKey === undefined) return [...new Set([...list, ...(value as unknown[])])]
  return mergeList(list, value as unknown[], mergeKey, itemOf(place))
}

function mergeList(
  target: readonly unknown[],
  patch: readonly unknown[],
  mergeKey: string,
  item: Place | undefined,
): unknown[] {
  const isReplaced = patch.some((one) => isFields(one) && one.$patch === 'replace')
  let result = isReplaced ? [] : [...target]
  for (const one of patch) {
    if (!isFields(one) || one.$patch === 'replace') continue
    const key = one[mergeKey]
    if (key === undefined)
      throw new PatchError(`map: ${JSON.stringify(one)} does not contain declared merge key: ${mergeKey}`)
    const at = result.findIndex((other) => isFields(other) && other[mergeKey] === key)
    if (one.$patch === 'delete') result = result.filter((other) => !(isFields(other) && other[mergeKey] === key))
    else if (at < 0) result.push(applyStrategicPatch({}, one, item))
    else result[at] = applyStrategicPatch(result[at], one, item)
  }
  return result
}

/** What the order names comes in that order; the rest stays behind what it followed. */
function inOrder(list: readonly unknown[], order: readonly unknown[], mergeKey: string | undefined): unknown[] {
  const keyOf = (one: unknown): unknown => (mergeKey !== undefined && isFields(one) ? one[mergeKey] : one)
  const wanted = order.map(keyOf)
  const named = wanted.flatMap((key) => list.filter((one) => keyOf(one) === key))
  const rest = list.filter((one) => !wanted.includes(keyOf(one)))
  return [...named, ...rest]
}
