// The parser of label selectors: one pass over tokens.

import { labelRequirement, SelectorError } from './selector.ts'
import type { LabelOperator, LabelRequirement } from './selector.ts'

const TOKEN = /\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)/y
const OPERATORS: Record<string, LabelOperator> = {
  '=': '=',
  '==': '=',
  '!=': '!=',
  in: 'in',
  notin: 'notin',
  '>': '>',
  '<': '<',
}

const tokensOf = (text: string): string[] => {
  const trimmed = text.trimEnd()
  const tokens: string[] = []
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < trimmed.length) {
    // Every character is white space, special or part of a word, so that each round matches.
    const match = TOKEN.exec(trimmed)
    if (!match?.[1]) break
    tokens.push(match[1])
  }
  return tokens
}

const isWord = (token: string | undefined): token is string => token !== undefined && !/^[=!(),<>]/.test(token)

/**
 * Parses `a=b,c!=d,e in (x,y),f notin (z),g,!h,i>5`. Empty text has no requirement and selects everything.
 * @throws SelectorError
 */
export const parseLabelSelector = (text: string): LabelRequirement[] => {
  const tokens = tokensOf(text)
  let at = 0
  const expected = (what: string): never => {
    throw new SelectorError(
      `label selector ${JSON.stringify(text)}: expected ${what}, found ${JSON.stringify(tokens[at] ?? 'the end')}`,
    )
  }
  const word = (what: string): string => {
    const token = tokens[at]
    if (!isWord(token)) return expected(what)
    at++
    return token
  }
  const atEnd = (): boolean => tokens[at] === undefined || tokens[at] === ','

  const set = (): string[] => {
    if (tokens[at] !== '(') expected('"("')
    at++
    const values: string[] = []
    for (;;) {
      // A missing value is the empty one: (a,) has two, () has one.
      values.push(isWord(tokens[at]) ? word('a value') : '')
      if (tokens[at] === ')') break
      if (tokens[at] !== ',') expected('"," or ")"')
      at++
    }
    at++
    return values
  }

  const requirement = (): LabelRequirement => {
    if (tokens[at] === '!') {
      at++
      return labelRequirement(word('a label key'), '!')
    }
    const key = word('a label key or "!"')
    if (atEnd()) return labelRequirement(key, 'exists')
    const operator = OPERATORS[tokens[at] ?? ''] ?? expected('one of =, ==, !=, in, notin, >, <')
    at++
    if (operator === 'in' || operator === 'notin') return labelRequirement(key, operator, set())
    return labelRequirement(key, operator, [atEnd() ? '' : word('a value')])
  }

  const requirements: LabelRequirement[] = []
  if (tokens.length === 0) return requirements
  for (;;) {
    requirements.push(requirement())
    if (tokens[at] === undefined) return requirements
    if (tokens[at] !== ',') expected('"," or the end')
    at++
  }
}
