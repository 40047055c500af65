// What was left out of the graph, by name.

/** A part of an API object that was left out because it is malformed. */
export interface Problem {
  /** For instance `Service ns1/web`. */
  object: string
  /** For instance `spec.ports[0].port`. */
  field: string
  /** What is wrong and what was left out. */
  message: string
}

const label = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/

/** Whether `text` is a DNS label (RFC 1123), the only spelling of names that reaches a rule. */
export const isLabel = (text: unknown): text is string => typeof text === 'string' && label.test(text)

/** Whether `value` is a port that can be dialled. */
export const isPort = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65535

/** `value` for a message: quoted, without control characters, short. */
export function shown(value: unknown): string {
  const text = value === undefined ? 'nothing' : printed(value).replaceAll(/[\p{Cc}\p{Cs}\u2028\u2029]/gu, '?')
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

/** As JSON, and what JSON has no way to write as its kind. */
function printed(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'bigint') return String(value)
  try {
    return JSON.stringify(value) ?? typeof value
  } catch {
    return typeof value
  }
}

/** Takes what is wrong with a field. */
export type Report = (field: string, message: string) => void

/** The items of a list; nothing and null are an empty one, and what is no list is told and left out. */
export function itemsOf<T>(value: readonly T[] | null | undefined, field: string, report: Report): readonly T[] {
  if (Array.isArray(value)) return value
  if (value !== undefined && value !== null) report(field, `${shown(value)} is no list; it is left out`)
  return []
}

/** Whether `value` is an object with fields. */
export const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** What is no object is told of; nothing and null are an empty one. */
export function checkObject(value: unknown, field: string, report: Report): void {
  if (value !== undefined && value !== null && !isObject(value))
    report(field, `${shown(value)} is no object; it is left out`)
}

/** Whether an object has the label, with whatever value. */
export const hasLabel = (metadata: { labels?: unknown } | null | undefined, key: string): boolean =>
  isObject(metadata?.labels) && Object.hasOwn(metadata.labels, key)

/** The name of an object for a message, safe whatever its metadata holds. */
export function objectName(kind: string, metadata: { namespace?: unknown; name?: unknown } | null | undefined): string {
  const part = (text: unknown): string =>
    typeof text === 'string' && /^[\w.-]{1,253}$/.test(text) ? text : shown(text)
  return `${kind} ${part(metadata?.namespace)}/${part(metadata?.name)}`
}
