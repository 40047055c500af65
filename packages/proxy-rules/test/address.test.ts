// Addresses as they are read: lenient, and canonical afterwards.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cidrContains, isSpecial, parseAddress, parseCidr } from '../src/net/address.ts'

/** By the words of the documentation: four decimal numbers up to 255 of at most ten digits, leading zeros or not. */
function expected(text: string): string | undefined {
  const parts = /^(\d{1,10})\.(\d{1,10})\.(\d{1,10})\.(\d{1,10})$/.exec(text)?.slice(1).map(Number)
  return parts?.every((part) => part <= 255) ? parts.join('.') : undefined
}

const octet = fc.oneof(
  fc.integer({ min: 0, max: 300 }).map(String),
  fc.constantFrom(
    '',
    '0',
    '00',
    '010',
    '0000000001',
    '00000000001',
    '1e1',
    ' 1',
    '-1',
    '+1',
    '4294967296',
    '9999999999',
  ),
)
const v4 = fc.oneof(
  fc.array(octet, { minLength: 3, maxLength: 5 }).map((octets) => octets.join('.')),
  fc.ipV4(),
  fc.string({ unit: fc.constantFrom('1', '0', '.', 'x', '٣'), maxLength: 12 }),
)

test('IPv4 addresses are four numbers', () => {
  fc.assert(
    fc.property(v4, (text) => {
      const address = parseAddress(text)
      expect(address?.text).toBe(expected(text))
      if (!address) return
      expect(address.family).toBe('IPv4')
      const [a = 0, b = 0, c = 0, d = 0] = address.text.split('.').map(Number)
      expect(address.value).toBe(BigInt(((a * 256 + b) * 256 + c) * 256 + d))
    }),
    { numRuns: 2000 },
  )
})

test.each([
  ['127.0.0.0/8', '0.0.0.0/32', '169.254.0.0/16', '224.0.0.0/24'],
  ['::1/128', '::/128', 'fe80::/10', 'ff02::/16'],
])('special are addresses of %s, %s, %s, %s alone', (...texts) => {
  const ranges = texts.map((text) => parseCidr(text)).filter((range) => range !== undefined)
  expect(ranges).toHaveLength(texts.length)
  const edges = texts.flatMap((text) => {
    const [address = ''] = text.split('/')
    return [address, address.replace(/^127.*/, '127.255.255.255')]
  })
  const others = [
    '126.255.255.255',
    '128.0.0.0',
    '0.0.0.1',
    '169.255.0.0',
    '224.0.1.0',
    '::2',
    'febf::1',
    'fec0::',
    'ff03::',
  ]
  for (const text of [...edges, ...others]) {
    const address = parseAddress(text)
    if (!address || address.family !== ranges[0]?.family) continue
    expect(isSpecial(address), text).toBe(ranges.some((range) => cidrContains(range, address)))
  }
})
