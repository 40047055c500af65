import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  labelRequirement,
  labelSelectorOf,
  matchesFields,
  matchesLabels,
  parseFieldSelector,
  parseLabelSelector,
  printFieldSelector,
  printLabelSelector,
  SelectorError,
} from '../src/index.ts'
import type { LabelOperator } from '../src/index.ts'

describe('label selectors', () => {
  test.each([
    ['', ''],
    ['  ', ''],
    ['a', 'a'],
    ['!a', '!a'],
    ['! a , b', '!a,b'],
    ['a=b', 'a=b'],
    ['a==b', 'a=b'],
    ['a = b,c != d', 'a=b,c!=d'],
    ['a=', 'a='],
    ['a=,b', 'a=,b'],
    ['x in (b,a,b)', 'x in (a,b)'],
    ['x in(a)', 'x in (a)'],
    ['x in ()', 'x in ()'],
    ['x notin (a,)', 'x notin (,a)'],
    ['in in (in,notin)', 'in in (in,notin)'],
    ['a=in', 'a=in'],
    ['example.com/a-b_c.d>5', 'example.com/a-b_c.d>5'],
    ['n<10', 'n<10'],
  ])('%j prints as %j', (text, printed) => {
    expect(printLabelSelector(parseLabelSelector(text))).toBe(printed)
  })

  test.each([
    'a b',
    'a,',
    ',a',
    'a,,b',
    '=b',
    'a=b=c',
    'a!',
    '!',
    '!a=b',
    'a in',
    'a in b',
    'a in (b',
    'a in (b c)',
    'a notin (b))',
    'a=-b',
    'a=b/c',
    '-a',
    'a/b/c',
    'UPPER.com/a',
    '/a',
    'a/',
    `${'k'.repeat(64)}`,
    `a=${'v'.repeat(64)}`,
    'a>b',
    'a<',
    '(a)',
  ])('%j is refused', (text) => {
    expect(() => parseLabelSelector(text)).toThrow(SelectorError)
  })

  test('the message shows what was expected', () => {
    expect(() => parseLabelSelector('a in b')).toThrow('label selector "a in b": expected "(", found "b"')
    expect(() => parseLabelSelector('a in (b')).toThrow('expected "," or ")", found "the end"')
  })

  test.each([
    ['', {}, true],
    ['a', { a: '' }, true],
    ['a', {}, false],
    ['!a', {}, true],
    ['!a', { a: '' }, false],
    ['a=b', { a: 'b' }, true],
    ['a=b', {}, false],
    ['a=', {}, false],
    ['a=', { a: '' }, true],
    ['a!=b', {}, true],
    ['a!=b', { a: 'b' }, false],
    ['a in (b,c)', { a: 'c' }, true],
    ['a in (b,c)', {}, false],
    ['a notin (b,c)', {}, true],
    ['a notin (b,c)', { a: 'c' }, false],
    ['a>5', { a: '6' }, true],
    ['a>5', { a: '5' }, false],
    ['a>5', { a: 'x' }, false],
    ['a>5', {}, false],
    ['a<5', { a: '-6' }, true],
    ['a,b=c', { a: '1' }, false],
    ['toString', {}, false],
  ])('%j on %j: %j', (text, labels, matches) => {
    expect(matchesLabels(parseLabelSelector(text), labels)).toBe(matches)
  })

  const edge = fc.constantFrom(...'abzAZ019'.split(''))
  const name = fc
    .tuple(edge, fc.string({ unit: fc.constantFrom(...'azAZ09-_.'.split('')), maxLength: 20 }), edge)
    .map((p) => p.join(''))
  const key = fc.oneof(
    name,
    name.map((n) => `example.com/${n}`),
    fc.constantFrom('in', 'notin'),
  )
  const value = fc.oneof(name, fc.constantFrom('', 'in', 'notin'))
  const requirement = fc.oneof(
    fc.tuple(key, fc.constantFrom<LabelOperator>('exists', '!')).map(([k, o]) => labelRequirement(k, o)),
    fc.tuple(key, fc.constantFrom<LabelOperator>('=', '!='), value).map(([k, o, v]) => labelRequirement(k, o, [v])),
    fc
      .tuple(key, fc.constantFrom<LabelOperator>('in', 'notin'), fc.array(value, { minLength: 1, maxLength: 4 }))
      .map(([k, o, v]) => labelRequirement(k, o, v)),
    fc
      .tuple(key, fc.constantFrom<LabelOperator>('>', '<'), fc.integer())
      .map(([k, o, v]) => labelRequirement(k, o, [`${v}`])),
  )
  test('parse ∘ print = id', () => {
    fc.assert(
      fc.property(fc.array(requirement, { maxLength: 5 }), (selector) => {
        expect(parseLabelSelector(printLabelSelector(selector))).toEqual(selector)
      }),
    )
  })

  test('whatever the text, it parses or is a SelectorError', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'ab=!<>(), in/.-'.split('')) }), (text) => {
        try {
          parseLabelSelector(text)
        } catch (error) {
          expect(error).toBeInstanceOf(SelectorError)
        }
      }),
    )
  })

  test('from an object', () => {
    const selector = labelSelectorOf({
      matchLabels: { a: 'b' },
      matchExpressions: [
        { key: 'c', operator: 'In', values: ['e', 'd'] },
        { key: 'f', operator: 'NotIn', values: ['g'] },
        { key: 'h', operator: 'Exists' },
        { key: 'i', operator: 'DoesNotExist' },
      ],
    })
    expect(printLabelSelector(selector)).toBe('a=b,c in (d,e),f notin (g),h,!i')
    expect(labelSelectorOf({})).toEqual([])
    expect(() => labelSelectorOf({ matchExpressions: [{ key: 'a', operator: 'Near' }] })).toThrow(
      '"Near" is not one of In',
    )
    expect(() => labelSelectorOf({ matchExpressions: [{ key: 'a', operator: 'In' }] })).toThrow('at least one value')
  })
})

describe('field selectors', () => {
  const pod = { metadata: { name: 'a,b' }, spec: { nodeName: 'n1', hostNetwork: true }, status: { phase: 'Running' } }
  test.each([
    ['', true],
    ['spec.nodeName=n1', true],
    ['spec.nodeName==n2', false],
    ['status.phase!=Failed,status.phase!=Succeeded', true],
    ['metadata.name=a\\,b', true],
    ['spec.nodeName=', false],
    ['spec.missing=', true],
    ['spec.hostNetwork=true', true],
    ['spec.toString=', true],
  ])('%j: %j', (text, matches) => {
    expect(matchesFields(parseFieldSelector(text), pod)).toBe(matches)
  })

  test.each(['a', 'a\\=b', 'a=b\\', 'a=\\x', '=b', 'a=b=c'])('%j is refused', (text) => {
    expect(() => parseFieldSelector(text)).toThrow(SelectorError)
  })

  test('parse ∘ print = id', () => {
    const requirement = fc.record({
      field: fc.constantFrom('metadata.name', 'spec.nodeName'),
      operator: fc.constantFrom('=' as const, '!=' as const),
      value: fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'\\,=!ab'.split('')) })),
    })
    fc.assert(
      fc.property(fc.array(requirement), (selector) => {
        expect(parseFieldSelector(printFieldSelector(selector))).toEqual(selector)
      }),
    )
  })
})
