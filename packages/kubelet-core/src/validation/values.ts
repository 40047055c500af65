// What numbers, choices, addresses and paths may be. Pure.
import { isIP } from 'node:net'
import { type FieldErrors, invalid, required, unsupported } from './field-error.ts'
import { checked, portName } from './names.ts'

/** A choice that must be made. */
export function* oneOf(field: string, value: string | undefined, supported: readonly string[]): FieldErrors {
  if (!value) yield required(field)
  else if (!supported.includes(value)) yield unsupported(field, value, supported)
}

/** A choice that may be left out. */
export function* maybeOneOf(field: string, value: string | undefined, supported: readonly string[]): FieldErrors {
  if (value !== undefined && !supported.includes(value)) yield unsupported(field, value, supported)
}

export function* inRange(field: string, value: number | undefined, least: number, most: number): FieldErrors {
  if (value !== undefined && (value < least || value > most)) {
    yield invalid(field, value, `must be between ${least} and ${most}, inclusive`)
  }
}

export function* notNegative(field: string, value: number | undefined): FieldErrors {
  if (value !== undefined && value < 0) yield invalid(field, value, 'must be greater than or equal to 0')
}

export const port = (field: string, value: number): FieldErrors => inRange(field, value, 1, 65_535)

/** A number of a user or group. */
export const userId = (field: string, value: number | undefined): FieldErrors => inRange(field, value, 0, 2 ** 32 - 1)

export const portOrName = (field: string, value: number | string): FieldErrors =>
  typeof value === 'number' ? port(field, value) : checked(field, value, portName)

/** Zones are no part of an address here. */
export function* ipAddress(field: string, value: string): FieldErrors {
  if (isIP(value) === 0 || value.includes('%')) {
    yield invalid(field, value, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)')
  }
}

/** Permissions of a file. */
export function* fileMode(field: string, value: number | undefined): FieldErrors {
  if (value !== undefined && (value < 0 || value > 0o777)) {
    yield invalid(field, value, 'must be a number between 0 and 0777 (octal), both inclusive')
  }
}

const climbs = (path: string): boolean => path.split('/').includes('..')

/** A path that never goes up. */
export function* withoutBacksteps(field: string, path: string): FieldErrors {
  if (climbs(path)) yield invalid(field, path, "must not contain '..'")
}

/** A path below a folder. */
export function* descendingPath(field: string, path: string): FieldErrors {
  if (path.startsWith('/')) yield invalid(field, path, 'must be a relative path')
  yield* withoutBacksteps(field, path)
}

/** A path of a file in a volume, whose own names begin with `..`. */
export function* volumeFilePath(field: string, path: string): FieldErrors {
  yield* descendingPath(field, path)
  if (path.startsWith('..') && !climbs(path)) yield invalid(field, path, "must not start with '..'")
}
