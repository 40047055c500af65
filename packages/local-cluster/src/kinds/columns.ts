// What layouts of tables are made of. Pure.
import { isFields } from '../object.ts'
import type { ApiObject, Fields } from '../object.ts'
import { ageOf } from './age.ts'

export interface Column {
  name: string
  /** 1 shows with `-o wide` only. */
  priority: 0 | 1
}

export type Cell = string | number | boolean
export interface Layout {
  columns: Column[]
  cells(object: ApiObject, now: number): Cell[]
}

/** Names, joined by commas; wide ones come after. */
export const columns = (narrow: string, wide = ''): Column[] => [
  ...split(narrow).map((name) => ({ name, priority: 0 as const })),
  ...split(wide).map((name) => ({ name, priority: 1 as const })),
]
const split = (names: string): string[] => names.split(',').filter((name) => name !== '')

export const none = '<none>'
export const partOf = (object: Fields, key: string): Fields => (isFields(object[key]) ? object[key] : {})
export const word = (value: unknown): string => (typeof value === 'string' ? value : '')
export const ageCell = ({ metadata }: ApiObject, now: number): string => ageOf(metadata.creationTimestamp, now)
