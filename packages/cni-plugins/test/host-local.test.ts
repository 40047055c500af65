import { expect, test } from 'vitest'
import { nextAddress } from '../src/plugins/host-local/allocator.ts'
import { parseHostLocal } from '../src/plugins/host-local/config.ts'
import { addressBytes } from '@nodelet/linux'

const value = (address: string): bigint => BigInt(`0x${addressBytes(address).toString('hex')}`)
const small = parseHostLocal({ ipam: { type: 'host-local', subnet: '10.0.0.0/29' } }).sets[0] ?? []
const two =
  parseHostLocal({
    ipam: {
      type: 'host-local',
      ranges: [
        [
          { subnet: '10.0.0.0/29', rangeEnd: '10.0.0.3' },
          { subnet: '10.1.0.0/29', rangeStart: '10.1.0.5' },
        ],
      ],
    },
  }).sets[0] ?? []

test.each([
  ['the first after the gateway', small, undefined, [], '10.0.0.2'],
  ['the one after the last', small, '10.0.0.3', [], '10.0.0.4'],
  ['round to the beginning, broadcast left out', small, '10.0.0.6', [], '10.0.0.2'],
  ['what is taken is passed over', small, '10.0.0.6', ['10.0.0.2', '10.0.0.3'], '10.0.0.4'],
  ['the last one that is free', small, '10.0.0.4', ['10.0.0.2', '10.0.0.3', '10.0.0.5', '10.0.0.6'], '10.0.0.4'],
  ['none', small, undefined, ['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6'], undefined],
  ['the next range', two, '10.0.0.3', [], '10.1.0.5'],
  ['back in the first range', two, '10.1.0.6', [], '10.0.0.2'],
] as [string, typeof small, string | undefined, string[], string | undefined][])(
  '%s',
  (_, ranges, last, taken, expected) => {
    const from = last === undefined ? undefined : value(last)
    expect(nextAddress(ranges, from, (address) => !taken.includes(address))?.address).toBe(expected)
  },
)

test.each([
  [{}, 'no IP ranges specified'],
  [{ subnet: '10.0.0.0/31' }, 'network 10.0.0.0/31 too small to allocate from'],
  [{ subnet: '10.0.0.1/24' }, 'host bits set: for 10.0.0.1/24 it is 10.0.0.0/24'],
  [{ subnet: '10.0.0.0/24', rangeStart: '10.0.1.1' }, 'rangeStart 10.0.1.1 not in network 10.0.0.0/24'],
  [{ subnet: 'x/24' }, 'not an IP address: "x"'],
  [{ ranges: 'x' }, 'ipam.ranges'],
])('%j is refused', (ipam, message) => {
  expect(() => parseHostLocal({ ipam: { type: 'host-local', ...ipam } })).toThrow(message)
})

test('ranges of the runtime come before those of the configuration', () => {
  const { sets } = parseHostLocal({
    ipam: { type: 'host-local', subnet: '10.0.0.0/29' },
    runtimeConfig: { ipRanges: [[{ subnet: '10.9.0.0/29' }]] },
  })
  expect(sets.map(([range]) => range?.subnet)).toEqual(['10.9.0.0/29', '10.0.0.0/29'])
})
