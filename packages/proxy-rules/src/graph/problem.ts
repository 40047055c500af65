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
  const text = value === undefined ? 'nothing' : JSON.stringify(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

/** The name of an object for a message, safe whatever its metadata holds. */
export function objectName(kind: string, metadata: { namespace?: unknown; name?: unknown } | undefined): string {
  const part = (text: unknown): string =>
    typeof text === 'string' && /^[\w.-]{1,253}$/.test(text) ? text : shown(text)
  return `${kind} ${part(metadata?.namespace)}/${part(metadata?.name)}`
}

/** An array as it is, and none for anything else. */
export const listOf = <T>(value: readonly T[] | null | undefined): readonly T[] => (Array.isArray(value) ? value : [])
