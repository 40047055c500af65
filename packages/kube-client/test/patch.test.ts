import fc from 'fast-check'
import { expect, test } from 'vitest'
import { applyMergePatch, mergePatchBetween } from '../src/index.ts'

// The examples of RFC 7386, appendix A.
test.each([
  [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
  [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
  [{ a: 'b' }, { a: null }, {}],
  [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
  [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
  [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
  [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
  [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
  [
    ['a', 'b'],
    ['c', 'd'],
    ['c', 'd'],
  ],
  [{ a: 'b' }, ['c'], ['c']],
  [{ a: 'foo' }, null, null],
  [{ a: 'foo' }, 'bar', 'bar'],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: 'b', c: null }, { a: 'b' }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
])('%j patched with %j is %j', (target, patch, result) => {
  expect(applyMergePatch(target, patch)).toEqual(result)
})

const tree = fc.letrec<{ node: unknown; object: object }>((tie) => ({
  node: fc.oneof(
    { depthSize: 'small' },
    fc.integer(),
    fc.string(),
    fc.array(fc.nat(), { maxLength: 3 }),
    tie('object'),
  ),
  object: fc.dictionary(fc.constantFrom('a', 'b', 'c', '__proto__'), tie('node')),
})).object

test('the patch between two objects makes one the other', () => {
  fc.assert(
    fc.property(tree, tree, (from, to) => {
      const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
      expect(plain(applyMergePatch(from, mergePatchBetween(from, to) ?? {}))).toEqual(plain(to))
      expect(mergePatchBetween(to, to)).toBeUndefined()
    }),
  )
})

test('only what differs is sent', () => {
  const from = { status: { phase: 'Pending', ip: '1', list: [1, { a: 1 }] } }
  expect(mergePatchBetween(from, { status: { phase: 'Running', ip: undefined, list: [1, { a: 1 }] } })).toEqual({
    status: { phase: 'Running', ip: null },
  })
})
