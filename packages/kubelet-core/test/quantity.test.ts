import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseMilliQuantity, parseQuantity } from '../src/quantity.ts'

test.each([
  ['0', 0n],
  ['500m', 500n],
  ['1.5', 1500n],
  ['.5', 500n],
  ['64Mi', 67_108_864_000n],
  ['1.5Gi', 1_610_612_736_000n],
  ['2e3', 2_000_000n],
  ['2E', 2n * 10n ** 21n],
  ['100n', 1n],
  ['-1', -1000n],
  [3, 3000n],
] as const)('%s is %s thousandths', (text, milli) => {
  expect(parseMilliQuantity(text)).toBe(milli)
})

test.each(['', 'm', '1 Gi', '1KiB', '0x10', 'NaN', '1.2.3', '--1'])('refuses %j and names field and value', (text) => {
  expect(() => parseMilliQuantity(text, 'limits.cpu')).toThrow(`limits.cpu: ${JSON.stringify(text)} is not a quantity`)
})

test('whole units round up', () => {
  expect(parseQuantity('1001m')).toBe(2n)
  expect(parseQuantity('128Ki')).toBe(131_072n)
})

test('milli and plain forms agree for every integer', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 10n ** 18n }), (value) => {
      expect(parseMilliQuantity(`${value}m`)).toBe(value)
      expect(parseMilliQuantity(`${value}`)).toBe(value * 1000n)
    }),
  )
})
