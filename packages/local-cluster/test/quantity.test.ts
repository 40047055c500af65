import { expect, test } from 'vitest'
import { badQuantity, quantity } from '../src/kinds/quantity.ts'

test.each([
  ['1E', 1e18],
  ['7Ei', 7 * 2 ** 60],
  ['1.5Ei', 1.5 * 2 ** 60],
  ['12E3', 12_000],
  ['12e-3', 0.012],
  ['+1.5Gi', 1.5 * 2 ** 30],
  ['100m', 0.1],
])('%s is %d', (text, value) => {
  expect(quantity(text)).toBeCloseTo(value, 9)
})

test.each(['', 'foo', '1ei', '1e', '1.2.3', 'Ei'])('%j is none', (text) => {
  expect([quantity(text), badQuantity({ capacity: { storage: text } })]).toEqual([Number.NaN, true])
})
