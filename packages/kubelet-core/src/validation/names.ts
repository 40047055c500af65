// What names, labels and the like may look like: each check lists what is wrong with a text. Pure.
import { type FieldErrors, invalid } from './field-error.ts'

export type TextCheck = (text: string) => string[]

/** Applies a check to a field. */
export function* checked(field: string, text: string, check: TextCheck): FieldErrors {
  for (const detail of check(text)) yield invalid(field, text, detail)
}

export const bytesOf = (text: string): number => Buffer.byteLength(text)

function patternText(message: string, pattern: string, ...examples: string[]): string {
  const cases = examples.map((one) => `'${one}', `).join(' or ')
  return `${message} (e.g. ${cases}regex used for validation is '${pattern}')`
}

/** A text that is too long is not looked at further. */
const shaped = (most: number, pattern: string, message: string): TextCheck => {
  const whole = new RegExp(`^${pattern}$`)
  return (text) => {
    if (bytesOf(text) > most) return [`must be no more than ${most} bytes`]
    return whole.test(text) ? [] : [message]
  }
}

const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?'
const subdomain = `${label}(\\.${label})*`
const underscored = '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?'
const searched = `${underscored}(\\.${underscored})*`
const alphanumeric = 'and must start and end with an alphanumeric character'

const isLabel = shaped(
  63,
  label,
  patternText(
    `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', ${alphanumeric}`,
    label,
    'my-name',
    '123-abc',
  ),
)

/** A label of RFC 1123. */
export const dnsLabel: TextCheck = (text) => {
  const details = isLabel(text)
  return details.length > 0 && bytesOf(text) <= 63 && dnsSubdomain(text).length === 0
    ? ['must not contain dots']
    : details
}

/** Labels of RFC 1123 with dots between. */
export const dnsSubdomain: TextCheck = shaped(
  253,
  subdomain,
  patternText(
    `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', ${alphanumeric}`,
    subdomain,
    'example.com',
  ),
)

/** A domain of a resolver's search list. */
export const searchDomain: TextCheck = shaped(
  253,
  searched,
  patternText(
    `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', ${alphanumeric}`,
    searched,
    'example.com',
  ),
)

const keyPart = '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'
const keyText = patternText(
  `must consist of alphanumeric characters, '-', '_' or '.', ${alphanumeric}`,
  keyPart,
  'MyName',
  'my.name',
  '123-abc',
)
const keyName = shaped(63, keyPart, keyText)

/** A key of labels: a name, with a domain and `/` before it if need be. */
export const qualifiedName: TextCheck = (text) => {
  const [first = '', second, ...more] = text.split('/')
  if (more.length > 0) {
    return [`a valid label key ${keyText} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`]
  }
  const name = second ?? first
  const prefix = second === undefined ? [] : first ? dnsSubdomain(first) : ['must be non-empty']
  return [
    ...prefix.map((detail) => `prefix part ${detail}`),
    ...[...(name ? [] : ['must be non-empty']), ...keyName(name)].map((detail) => `name part ${detail}`),
  ]
}

export const labelValue: TextCheck = shaped(
  63,
  `(${keyPart})?`,
  patternText(
    `a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', ${alphanumeric}`,
    `(${keyPart})?`,
    'MyValue',
    'my_value',
    '12345',
  ),
)

/** A service name of RFC 6335. */
export const portName: TextCheck = (text) => [
  ...(bytesOf(text) > 15 ? ['must be no more than 15 bytes'] : []),
  ...(/^[-a-z0-9]+$/.test(text) ? [] : ['must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)']),
  ...(/[a-z]/.test(text) ? [] : ['must contain at least one letter (a-z)']),
  ...(text.includes('--') ? ['must not contain consecutive hyphens'] : []),
  ...(/^-|-$/.test(text) ? ['must not begin or end with a hyphen'] : []),
]

/** Name of a variable: anything printable but `=`. */
export const variableName: TextCheck = (text) => [
  ...(text ? [] : ['environment variable name must be non-empty']),
  ...(/^[ -<>-~]*$/.test(text)
    ? []
    : ["a valid environment variable name must consist only of printable ASCII characters other than '='"]),
]

const header = '[-A-Za-z0-9]+'
export const headerName: TextCheck = shaped(
  Number.POSITIVE_INFINITY,
  header,
  patternText("a valid HTTP header must consist of alphanumeric characters or '-'", header, 'X-Header-Name'),
)
