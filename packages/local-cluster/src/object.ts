// API objects as the server sees them: JSON with metadata.
import type { ObjectMeta } from 'kubernetes-types/meta/v1.d.ts'

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json }
export type Fields = Record<string, unknown>

/** Any API object. Those in the store are shared: copied before they are changed. */
export interface ApiObject extends Fields {
  apiVersion: string
  kind: string
  metadata: Metadata
}

/** Clients only read some of it; the server writes all. */
export type Metadata = { -readonly [K in keyof ObjectMeta]: ObjectMeta[K] } & { name: string }

export const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A field's fields; made when it is absent. */
export function fieldsAt(object: Fields, key: string): Fields {
  const value = object[key]
  if (isFields(value)) return value
  const made: Fields = {}
  object[key] = made
  return made
}

/** A field's fields; empty when it is absent. */
export const partOf = (object: Fields, key: string): Fields => (isFields(object[key]) ? object[key] : {})

export const listAt = (object: Fields | undefined, key: string): Fields[] => {
  const value = object?.[key]
  return Array.isArray(value) ? value.filter(isFields) : []
}

/** Seconds, as the API server writes times. */
export const timeNow = (at: Date = new Date()): string => `${at.toISOString().slice(0, 19)}Z`

/** The same value with the keys of all its objects in order. */
export function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys)
  if (!isFields(value)) return value
  const keys = Object.keys(value).toSorted((a, b) => (a < b ? -1 : 1))
  return Object.fromEntries(keys.map((key) => [key, sortKeys(value[key])]))
}

/** Whether two values say the same, in whatever order their keys are. */
export const sameJson = (a: unknown, b: unknown): boolean => JSON.stringify(sortKeys(a)) === JSON.stringify(sortKeys(b))
