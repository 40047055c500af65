// Objects that cannot be kept, because nothing tells them from others.

import type { KubeObject } from './resources.ts'
import { eachInTurn } from './slices.ts'
import type { Steps } from './slices.ts'

/** What a server gave that is no object with a name: it is left out, and what comes with it is not. */
export class MalformedObjectError extends Error {
  override readonly name = 'MalformedObjectError'
}

/** Longest value in a message, in characters. */
const SHOWN = 80

/** Whether `value` is an object with fields. */
export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const shown = (value: unknown): string => {
  const text = (JSON.stringify(value) ?? 'nothing').replaceAll(/[\p{Cc}\u2028\u2029]/gu, '?')
  return text.length > SHOWN ? `${text.slice(0, SHOWN - 3)}...` : text
}

/** A slash would make one object's place in a collection that of another. */
const isName = (value: unknown): boolean => typeof value === 'string' && value !== '' && !value.includes('/')

const isTextOrNothing = (value: unknown): boolean => value === undefined || value === null || typeof value === 'string'

/**
 * What keeps `object` from being told from others; undefined when nothing does. Pure.
 * @param where the collection's path, for instance `/api/v1/pods`
 */
export const malformation = (where: string, object: unknown): MalformedObjectError | undefined => {
  const wrong = (what: string): MalformedObjectError => new MalformedObjectError(`${where}: ${what}; it is left out`)
  if (!isRecord(object)) return wrong(`${shown(object)} is no object`)
  const { metadata } = object
  if (!isRecord(metadata)) return wrong(`an object has the metadata ${shown(metadata)}`)
  const { name, namespace } = metadata
  const place = (): string => `metadata of ${shown(namespace)}, ${shown(name)}`
  if (!isName(name)) return wrong(`${place()}: name is no name`)
  if (namespace !== undefined && namespace !== null && namespace !== '' && !isName(namespace))
    return wrong(`${place()}: namespace is no name`)
  const field = ['uid', 'resourceVersion'].find((key) => !isTextOrNothing(metadata[key]))
  return field === undefined ? undefined : wrong(`${place()}: ${field} ${shown(metadata[field])} is no text`)
}

/**
 * The items of a list that can be kept, and what is wrong with the others. Pure.
 * @param names what each item is given that has none of these fields itself
 */
export const sortOut = function* <T extends KubeObject>(
  where: string,
  items: readonly unknown[],
  names: Pick<KubeObject, 'apiVersion' | 'kind'>,
): Steps<{ good: T[]; skipped: MalformedObjectError[] }> {
  const good: T[] = []
  const skipped: MalformedObjectError[] = []
  yield* eachInTurn(items, (item) => {
    const error = malformation(where, item)
    if (error) skipped.push(error)
    else good.push({ ...names, ...(item as T) })
  })
  return { good, skipped }
}

/** More messages than this are not remembered as told. */
const REMEMBERED = 1000

/** Passes on errors that were not told yet. */
export interface OnceTold {
  tell(error: MalformedObjectError): void
  /** Others than these may be told again. */
  keepOnly(errors: readonly MalformedObjectError[]): void
}

/** Tells each message once. */
export const tellOnce = (onError: (error: unknown) => void): OnceTold => {
  const told = new Set<string>()
  return {
    tell(error) {
      if (told.has(error.message)) return
      if (told.size >= REMEMBERED) told.clear()
      told.add(error.message)
      onError(error)
    },
    keepOnly(errors) {
      const present = new Set(errors.map(({ message }) => message))
      for (const message of told) if (!present.has(message)) told.delete(message)
    },
  }
}
