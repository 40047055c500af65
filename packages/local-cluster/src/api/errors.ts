// Refusals as the API server words them: a Status object each.
import type { Status, StatusCause } from 'kubernetes-types/meta/v1.d.ts'

/** A refusal. Its `status` is the answer's body. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: Status & { code: number }

  constructor(code: number, reason: string, message: string, details?: Status['details']) {
    super(message)
    this.status = {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      ...(reason && { reason }),
      ...(details && { details }),
      code,
    }
  }
}

/** How an object is named in messages: `deployments.apps` and `Deployment.apps`. */
export interface Named {
  group: string
  resource: string
  kind: string
}

const qualified = (name: string, group: string): string => (group === '' ? name : `${name}.${group}`)
const detailsOf = ({ group, resource }: Named, name: string): Status['details'] => ({
  name,
  ...(group && { group }),
  kind: resource,
})

export const badRequest = (message: string): ApiError => new ApiError(400, 'BadRequest', message)

export const notFound = (named: Named, name: string): ApiError =>
  new ApiError(404, 'NotFound', `${qualified(named.resource, named.group)} "${name}" not found`, detailsOf(named, name))

export const alreadyExists = (named: Named, name: string): ApiError =>
  new ApiError(
    409,
    'AlreadyExists',
    `${qualified(named.resource, named.group)} "${name}" already exists`,
    detailsOf(named, name),
  )

export const conflict = (named: Named, name: string, why: string): ApiError =>
  new ApiError(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${qualified(named.resource, named.group)} "${name}": ${why}`,
    detailsOf(named, name),
  )

export const modified = (named: Named, name: string): ApiError =>
  conflict(named, name, 'the object has been modified; please apply your changes to the latest version and try again')

/** Of an object that may not be written so. */
export const refused = (named: Named, name: string, why: string): ApiError =>
  new ApiError(
    403,
    'Forbidden',
    `${qualified(named.resource, named.group)} "${name}" is forbidden: ${why}`,
    detailsOf(named, name),
  )

export const noSuchResource = (): ApiError =>
  new ApiError(404, 'NotFound', 'the server could not find the requested resource', {})

export const wrongMediaType = (): ApiError =>
  new ApiError(415, 'UnsupportedMediaType', '415: Unsupported Media Type', {})

/** One wrong field. */
export interface FieldProblem {
  field: string
  reason: 'Required' | 'Invalid' | 'Duplicate' | 'NotSupported' | 'NotFound' | 'Forbidden' | 'TooLong'
  message: string
}

export const required = (field: string, detail = ''): FieldProblem => ({
  field,
  reason: 'Required',
  message: `Required value${detail ? `: ${detail}` : ''}`,
})
export const invalidValue = (field: string, value: unknown, detail: string): FieldProblem => ({
  field,
  reason: 'Invalid',
  message: `Invalid value: ${JSON.stringify(value)}: ${detail}`,
})
export const duplicate = (field: string, value: unknown): FieldProblem => ({
  field,
  reason: 'Duplicate',
  message: `Duplicate value: ${JSON.stringify(value)}`,
})
export const unsupported = (field: string, value: unknown, known: readonly string[]): FieldProblem => ({
  field,
  reason: 'NotSupported',
  message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${known.map((word) => JSON.stringify(word)).join(', ')}`,
})
export const missing = (field: string, value: unknown): FieldProblem => ({
  field,
  reason: 'NotFound',
  message: `Not found: ${JSON.stringify(value)}`,
})
export const forbidden = (field: string, detail: string): FieldProblem => ({
  field,
  reason: 'Forbidden',
  message: `Forbidden: ${detail}`,
})
export const tooLong = (field: string, longest: number): FieldProblem => ({
  field,
  reason: 'TooLong',
  message: `Too long: may not be more than ${longest} bytes`,
})

/** All wrong fields of one object. */
export function invalid({ group, kind }: Named, name: string, problems: readonly FieldProblem[]): ApiError {
  const texts = problems.map(({ field, message }) => `${field}: ${message}`)
  const list = texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`
  const causes: StatusCause[] = problems.map(({ field, reason, message }) => ({
    reason: `FieldValue${reason}`,
    message,
    field,
  }))
  const details = { ...(name && { name }), ...(group && { group }), kind, causes }
  return new ApiError(422, 'Invalid', `${qualified(kind, group)} "${name}" is invalid: ${list}`, details)
}
