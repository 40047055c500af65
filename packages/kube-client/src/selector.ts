// Label selectors as data: parse, print, match. The grammar is that of `kubectl -l`.

import type { LabelSelector } from 'kubernetes-types/meta/v1.d.ts'

/** `exists` and `!` take no value, `=`, `!=`, `>` and `<` one, `in` and `notin` any number. */
export type LabelOperator = '=' | '!=' | 'in' | 'notin' | 'exists' | '!' | '>' | '<'

/** One condition on one label. All conditions of a selector must hold. */
export interface LabelRequirement {
  readonly key: string
  readonly operator: LabelOperator
  /** Sorted, each once. */
  readonly values: readonly string[]
}

/** A selector is malformed. The message shows the selector and what was expected. */
export class SelectorError extends Error {
  override readonly name = 'SelectorError'
}

const NAME = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/
const PREFIX = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const INTEGER = /^[-+]?[0-9]+$/

const isKey = (key: string): boolean => {
  const [first, second, ...more] = key.split('/')
  if (more.length > 0 || first === undefined) return false
  return second === undefined ? NAME.test(first) : PREFIX.test(first) && NAME.test(second)
}

/**
 * Makes a requirement, with values sorted and each once.
 * @throws SelectorError for a malformed key or value, or a wrong number of values
 */
export const labelRequirement = (
  key: string,
  operator: LabelOperator,
  values: readonly string[] = [],
): LabelRequirement => {
  const fail = (what: string): never => {
    throw new SelectorError(`label selector: ${what} (key ${JSON.stringify(key)}, operator ${operator})`)
  }
  if (!isKey(key))
    fail('the key must be a name of at most 63 letters, digits, -, _, . with an optional DNS prefix and /')
  const unique = [...new Set(values)].sort()
  const count = unique.length
  if ((operator === 'exists' || operator === '!') && count > 0) fail('takes no value')
  if ((operator === 'in' || operator === 'notin') && count === 0) fail('needs at least one value')
  if (['=', '!=', '>', '<'].includes(operator) && count !== 1) fail('takes exactly one value')
  for (const value of unique) {
    if (operator === '>' || operator === '<') {
      if (!INTEGER.test(value)) fail(`${JSON.stringify(value)} is not an integer`)
    } else if (value !== '' && !NAME.test(value)) {
      fail(
        `value ${JSON.stringify(value)} must be at most 63 letters, digits, -, _, . and begin and end with one of the first two`,
      )
    }
  }
  return { key, operator, values: unique }
}

/** Whether labels fulfil all requirements. No requirement selects everything. */
export const matchesLabels = (
  selector: readonly LabelRequirement[],
  labels: Readonly<Record<string, string>> | undefined,
): boolean => selector.every((requirement) => matchesOne(requirement, labels ?? {}))

const matchesOne = ({ key, operator, values }: LabelRequirement, labels: Readonly<Record<string, string>>): boolean => {
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined
  switch (operator) {
    case 'exists':
      return value !== undefined
    case '!':
      return value === undefined
    case '=':
    case 'in':
      return value !== undefined && values.includes(value)
    case '!=':
    case 'notin':
      return value === undefined || !values.includes(value)
    default: {
      const limit = values[0]
      if (value === undefined || limit === undefined || !INTEGER.test(value)) return false
      return operator === '>' ? toInteger(value) > toInteger(limit) : toInteger(value) < toInteger(limit)
    }
  }
}

const toInteger = (text: string): bigint => BigInt(text.replace(/^\+/, ''))

/** The text of a selector, as the `labelSelector` parameter takes it. */
export const printLabelSelector = (selector: readonly LabelRequirement[]): string =>
  selector
    .map(({ key, operator, values }) => {
      if (operator === 'exists') return key
      if (operator === '!') return `!${key}`
      if (operator === 'in' || operator === 'notin') return `${key} ${operator} (${values.join(',')})`
      return `${key}${operator}${values.join('')}`
    })
    .join(',')

const EXPRESSIONS: Record<string, LabelOperator> = { In: 'in', NotIn: 'notin', Exists: 'exists', DoesNotExist: '!' }

/**
 * The requirements of a LabelSelector object. An empty object selects everything; where no selector at all selects
 * nothing, that is the caller's to know, so undefined is not taken.
 * @throws SelectorError for an unknown operator or malformed parts
 */
export const labelSelectorOf = (object: LabelSelector): LabelRequirement[] => [
  ...Object.entries(object.matchLabels ?? {}).map(([key, value]) => labelRequirement(key, '=', [value])),
  ...(object.matchExpressions ?? []).map(({ key, operator, values }) => {
    const known = EXPRESSIONS[operator]
    if (!known) {
      throw new SelectorError(
        `label selector: ${JSON.stringify(operator)} is not one of ${Object.keys(EXPRESSIONS).join(', ')}`,
      )
    }
    return labelRequirement(key, known, values ?? [])
  }),
]
