import fc from 'fast-check'
import { expect, test } from 'vitest'
import { findByKey, findByPrefix, withChanges } from '../src/graph/sorted.ts'

test('many changes or few: as a Map would have it, in order', () => {
  const key = fc.string({ minLength: 1, maxLength: 3, unit: fc.constantFrom('a', 'b', '-', '/') })
  const item = fc.record({ key, value: fc.integer() })
  const change = fc.tuple(key, fc.option(fc.integer(), { nil: undefined }))
  fc.assert(
    fc.property(
      fc.uniqueArray(item, { selector: (one) => one.key }),
      fc.array(change, { maxLength: 60 }),
      (items, put) => {
        const sorted = withChanges([], new Map(items.map((one) => [one.key, one])))
        const changes = new Map(put.map(([at, value]) => [at, value === undefined ? undefined : { key: at, value }]))
        const expected = new Map(items.map((one) => [one.key, one]))
        for (const [at, one] of changes) {
          if (one) expected.set(at, one)
          else expected.delete(at)
        }
        const found = withChanges(sorted, changes)
        const keys = [...expected.keys()].sort()
        expect(found).toEqual(keys.map((at) => expected.get(at)))
        for (const at of [...changes.keys(), ...keys]) expect(findByKey(found, at)).toBe(expected.get(at))
        expect(findByPrefix(found, 'a/').map((one) => one.key)).toEqual(keys.filter((at) => at.startsWith('a/')))
      },
    ),
  )
})
