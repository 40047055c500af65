// Addresses as text, against what Node itself says of them.
import { BlockList, isIP } from 'node:net'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { addressBytes, addressFamily, addressText, isWithin, parsePrefix } from '../../src/netlink/ip.ts'

const word = fc.constantFrom(
  '0',
  '1',
  '00',
  '01',
  'fe80',
  '::',
  ':',
  '.',
  '255',
  '256',
  '1.2.3.4',
  'ffff',
  '10000',
  '%',
  'g',
  '',
)
const nearlyAddress = fc.array(word, { maxLength: 12 }).map((words) => words.join(''))
const address = fc.oneof(fc.ipV4(), fc.ipV6(), nearlyAddress, fc.string({ maxLength: 8 }))

test('the family of an address is that which node:net sees', () => {
  fc.assert(
    fc.property(address, (text) => {
      // A zone is none of the address.
      expect(addressFamily(text) ?? 0).toBe(text.includes('%') ? 0 : isIP(text))
    }),
    { numRuns: 5_000 },
  )
})

test('what is an address goes to bytes and back, anything else is refused', () => {
  fc.assert(
    fc.property(address, (text) => {
      if (addressFamily(text) === undefined) expect(() => addressBytes(text)).toThrow('not an IP address')
      else expect(addressBytes(addressText(addressBytes(text)))).toEqual(addressBytes(text))
    }),
    { numRuns: 2_000 },
  )
})

test('an address is within a prefix when node:net says so', () => {
  const prefixed = fc.oneof(
    fc.tuple(fc.ipV4(), fc.nat(32), fc.ipV4()),
    fc.tuple(fc.ipV6(), fc.nat(128), fc.ipV6()),
    fc.tuple(fc.ipV4(), fc.nat(32), fc.ipV6()),
  )
  fc.assert(
    fc.property(prefixed, fc.boolean(), ([net, length, other], own) => {
      const one = own ? net : other
      const list = new BlockList()
      const kind = (text: string): 'ipv4' | 'ipv6' => (text.includes(':') ? 'ipv6' : 'ipv4')
      list.addSubnet(addressText(parsePrefix(net).bytes), length, kind(net))
      const isMapped = one.includes('ffff') && kind(one) !== kind(net)
      fc.pre(!isMapped) // BlockList takes ::ffff:a.b.c.d for IPv4; here families stay apart
      expect(isWithin(one, `${net}/${length}`)).toBe(list.check(one, kind(one)))
    }),
    { numRuns: 2_000 },
  )
})
