import { assert, array, constantFrom, integer, json, property, record, string, tuple } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readList } from '../src/list-reader.ts'
import { finish } from '../src/slices.ts'
import type { Steps } from '../src/slices.ts'

const runs = { numRuns: 60 }
const read = (text: string): unknown => finish(readList(Buffer.from(text)))
const outcome = (work: () => unknown): unknown => {
  try {
    return { value: work() }
  } catch (error) {
    return { error: (error as Error).name }
  }
}
const same = (text: string): void => expect(outcome(() => read(text))).toEqual(outcome(() => JSON.parse(text)))

/** So long that a few of them are read in pieces. */
const filler = 'ä"}],{\\'.repeat(1500)
const item = (name: string, more: object = {}): object => ({ metadata: { name, labels: { filler } }, ...more })
const list = (items: readonly unknown[], tail = ''): string =>
  `{"kind":"List","metadata":{"resourceVersion":"1"},"items":[${items.map((one) => JSON.stringify(one)).join(',')}]${tail}}\n`

const stepsOf = (steps: Steps<unknown>): number => {
  let count = 0
  while (!steps.next().done) count += 1
  return count
}

test('a long list is read in pieces, a short one at once', () => {
  const items = Array.from({ length: 20 }, (_, index) => item(`item-${index}`))
  expect(stepsOf(readList(Buffer.from(list(items))))).toBeGreaterThan(4)
  expect(stepsOf(readList(Buffer.from(list([{ metadata: { name: 'a' } }]))))).toBe(0)
})

describe('what is read is what JSON.parse reads', () => {
  test('any items, with lists like it within and around them', () => {
    const within = item('within')
    const templates = item('set', { spec: { templates: [within, within, within, within] } })
    const any = constantFrom(item('plain'), templates, { items: [within, within] }, { kind: 'X' }, [], null, 'text', 7)
    const tails = constantFrom('', ' ', ',"more":{}', ',"more":[1]', ',"items":[]', ',"items":null', ',"items":[2]')
    assert(
      property(array(any, { maxLength: 12 }), tails, (items, tail) => {
        same(list(items, tail))
      }),
      runs,
    )
  })

  test('any JSON as the only piece, or as an item', () => {
    assert(
      property(json(), array(json(), { maxLength: 4 }), (other, items) => {
        same(other)
        same(
          `{"items":[${[JSON.stringify(item('first')), ...items, JSON.stringify(filler)].join(',')}],"other":${other}}`,
        )
      }),
      runs,
    )
  })

  test('also when it is damaged: both refuse it, or neither', () => {
    const whole = list(Array.from({ length: 6 }, (_, index) => item(`item-${index}`)))
    const damage = record({
      at: integer({ min: 0, max: whole.length }),
      cut: integer({ min: 0, max: 3 }),
      put: string(),
    })
    const words = constantFrom('', ',', '[', ']', '{', '}', '"', '\\', ':', '"items":[', '},{"metadata":', ']}')
    assert(
      property(tuple(damage, words), ([{ at, cut, put }, word]) => {
        same(whole.slice(0, at) + word + whole.slice(at + cut))
        same(whole.slice(0, at) + put + whole.slice(at + cut))
      }),
      runs,
    )
  })

  test.each([
    ['a comma too many', (text: string) => text.replace(/\]\}\n$/, ',]}')],
    ['none between two', (text: string) => text.replaceAll('},{"metadata"', '}{"metadata"')],
    ['two', (text: string) => text.replaceAll('},{"metadata"', '},,{"metadata"')],
    ['blanks between them', (text: string) => text.replaceAll('},{"metadata"', '} ,\n {"metadata"')],
    ['no end', (text: string) => text.slice(0, -4)],
    ['more after the end', (text: string) => `${text}{}`],
    ['a name in disguise', (text: string) => text.replace('"kind":"List"', '"\\u0069tems":[1]')],
    ['the name once more, as the last', (text: string) => text.replace(/\}\n$/, ',"\\u0069tems":{"a":[]}}')],
  ])('%s', (_name, change) => same(change(list(Array.from({ length: 12 }, (_, index) => item(`item-${index}`))))))
})
