// Wrong fields in the API server's words. Pure.

export type FieldReason =
  | 'FieldValueRequired'
  | 'FieldValueInvalid'
  | 'FieldValueDuplicate'
  | 'FieldValueNotSupported'
  | 'FieldValueNotFound'
  | 'FieldValueForbidden'
  | 'FieldValueTooLong'
  | 'FieldValueTooMany'

/** One wrong field, as the causes of a Status have it. */
export interface FieldError {
  /** Where it is, for instance `spec.containers[0].name`. */
  field: string
  reason: FieldReason
  /** What is wrong, without the field: `Required value`. */
  message: string
}

/** What a rule finds wrong. */
export type FieldErrors = Generator<FieldError, void>

const worded = (message: string, detail: string): string => (detail ? `${message}: ${detail}` : message)

export const required = (field: string, detail = ''): FieldError => ({
  field,
  reason: 'FieldValueRequired',
  message: worded('Required value', detail),
})

export const invalid = (field: string, value: unknown, detail: string): FieldError => ({
  field,
  reason: 'FieldValueInvalid',
  message: `Invalid value: ${JSON.stringify(value)}: ${detail}`,
})

export const duplicate = (field: string, value: unknown): FieldError => ({
  field,
  reason: 'FieldValueDuplicate',
  message: `Duplicate value: ${JSON.stringify(value)}`,
})

export const unsupported = (field: string, value: unknown, supported: readonly string[]): FieldError => ({
  field,
  reason: 'FieldValueNotSupported',
  message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported.map((one) => JSON.stringify(one)).join(', ')}`,
})

export const notFound = (field: string, value: unknown, detail = ''): FieldError => ({
  field,
  reason: 'FieldValueNotFound',
  message: worded(`Not found: ${JSON.stringify(value)}`, detail),
})

export const forbidden = (field: string, detail: string): FieldError => ({
  field,
  reason: 'FieldValueForbidden',
  message: `Forbidden: ${detail}`,
})

export const tooLong = (field: string, bytes: number): FieldError => ({
  field,
  reason: 'FieldValueTooLong',
  message: `Too long: may not be more than ${bytes} bytes`,
})

export const tooMany = (field: string, count: number, most: number): FieldError => ({
  field,
  reason: 'FieldValueTooMany',
  message: `Too many: ${count}: must have at most ${most} items`,
})

/** `FIELD: MESSAGE`; of several errors `[ONE, OTHER]`, none of them twice. */
export function fieldErrorsText(errors: readonly FieldError[]): string {
  return aggregated(errors.map(({ field, message }) => `${field}: ${message}`))
}

/** One text as it is, several as `[ONE, OTHER]`, none of them twice. */
export function aggregated(texts: readonly string[]): string {
  const all = [...new Set(texts)]
  return all.length === 1 ? String(all[0]) : `[${all.join(', ')}]`
}
