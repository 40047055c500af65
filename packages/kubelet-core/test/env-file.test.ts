import { expect, it } from 'vitest'
import { valueInEnvFile } from '../src/pod/env-file.ts'

const file = `# settings

A='one'
  B='with = and # and "double"' # a comment
MULTI='first
  second # not a comment

third'
EMPTY=''
NOTHING=
LATE= 'not this'
A='again'
`

it.each([
  ['A', 'one'],
  ['B', 'with = and # and "double"'],
  ['MULTI', 'first\n  second # not a comment\n\nthird'],
  ['EMPTY', ''],
  ['NOTHING', ''],
  ['LATE', ''],
  ['C', undefined],
])('%s is %j', (key, value) => expect(valueInEnvFile(file, key)).toBe(value))

it.each([
  ['words', "line 1: missing '='"],
  ["\nA ='x'", "line 2: whitespace before '=' is not allowed"],
  ["='x'", 'line 1: empty variable name'],
  ['A=x', 'line 1: the value must be enclosed in single quotes'],
  ["# a\nA='x\ny", 'line 2: unclosed single quote'],
  ["A='x'y", 'line 1: unexpected content after the closing quote'],
])('%j: %s', (text, problem) => {
  expect(() => valueInEnvFile(text, 'A')).toThrow(`invalid environment variable format at ${problem}`)
})

it('what comes after the key is not looked at', () => expect(valueInEnvFile("A='x'\nbroken", 'A')).toBe('x'))
