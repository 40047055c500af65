// Field selectors as data: parse, print, match.

import { SelectorError } from './selector.ts'

/** One condition on one field, named by its path, for instance `spec.nodeName`. */
export interface FieldRequirement {
  readonly field: string
  readonly operator: '=' | '!='
  readonly value: string
}

/** Unescapes `\\`, `\,` and `\=`; other escapes are errors, as in Kubernetes. */
const unescape = (raw: string, text: string): string => {
  const bad = /\\(?![\\,=])./.exec(raw.replaceAll('\\\\', ''))
  if (bad || /(^|[^\\])(\\\\)*\\$/.test(raw)) {
    throw new SelectorError(`field selector ${JSON.stringify(text)}: only \\\\, \\, and \\= are escapes`)
  }
  return raw.replaceAll(/\\([\\,=])/g, '$1')
}
const escape = (value: string): string => value.replaceAll(/[\\,=]/g, '\\$&')

/**
 * Parses `metadata.name=a,status.phase!=Running`; `\`, `,` and `=` in values are escaped with `\`.
 * @throws SelectorError
 */
export const parseFieldSelector = (text: string): FieldRequirement[] =>
  termsOf(text)
    .filter((term) => term !== '')
    .map((term) => {
      // The first operator counts; what follows it is the value.
      const match = /^(?<field>[^=!\\]+)(?<operator>!=|==|=)(?<raw>.*)$/s.exec(term)
      const { field, operator, raw } = match?.groups ?? {}
      if (field === undefined || raw === undefined) {
        throw new SelectorError(
          `field selector ${JSON.stringify(text)}: ${JSON.stringify(term)} is not field=value or field!=value`,
        )
      }
      if (/(?<!\\)(\\\\)*=/.test(raw)) {
        throw new SelectorError(`field selector ${JSON.stringify(text)}: write = in a value as \\=`)
      }
      return { field, operator: operator === '!=' ? '!=' : '=', value: unescape(raw, text) }
    })

/** Splits at commas that are not escaped. */
const termsOf = (text: string): string[] => {
  const terms: string[] = ['']
  for (let i = 0; i < text.length; i++) {
    const char = text.charAt(i)
    if (char === ',') terms.push('')
    else terms.push((terms.pop() ?? '') + (char === '\\' ? char + text.charAt(++i) : char))
  }
  return terms
}

/** The text of a selector, as the `fieldSelector` parameter takes it. */
export const printFieldSelector = (selector: readonly FieldRequirement[]): string =>
  selector.map(({ field, operator, value }) => `${field}${operator}${escape(value)}`).join(',')

/** Whether an object fulfils all requirements. A field that is absent reads as the empty string. */
export const matchesFields = (selector: readonly FieldRequirement[], object: object): boolean =>
  selector.every(({ field, operator, value }) => (fieldOf(object, field) === value) === (operator === '='))

const fieldOf = (object: object, path: string): string => {
  let at: unknown = object
  for (const key of path.split('.')) {
    at =
      typeof at === 'object' && at !== null && Object.hasOwn(at, key) ? (at as Record<string, unknown>)[key] : undefined
  }
  return typeof at === 'string' ? at : typeof at === 'number' || typeof at === 'boolean' ? String(at) : ''
}
