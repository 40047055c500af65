import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseResult } from '../../src/libcni/parse-result.ts'
import { toVersion } from '../../src/libcni/print-result.ts'
import { cniVersions } from '../../src/libcni/versions.ts'

const optional = <T>(key: string, value: fc.Arbitrary<T>): fc.Arbitrary<Record<string, T>> =>
  fc.option(value, { nil: undefined }).map((some) => (some === undefined ? {} : { [key]: some }))
const all = (...parts: fc.Arbitrary<object>[]): fc.Arbitrary<object> =>
  fc.tuple(...parts).map((some) => Object.assign({}, ...some) as object)
const words = fc.array(fc.string(), { maxLength: 2 })
const v4 = fc.ipV4()
const v6 = fc.ipV6()
const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map((bytes) =>
  Buffer.from(bytes)
    .toString('hex')
    .replace(/..(?=.)/g, '$&:'),
)
const natural = fc.nat(4_000_000_000)
const dns = all(optional('nameservers', words), optional('domain', fc.string()), optional('search', words))
const route = (address: fc.Arbitrary<string>): fc.Arbitrary<object> =>
  all(
    address.map((ip) => ({ dst: `${ip}/24` })),
    optional('gw', address),
  )
const newRoute = (address: fc.Arbitrary<string>): fc.Arbitrary<object> =>
  all(
    route(address),
    optional('scope', fc.nat(255)),
    ...['mtu', 'advmss', 'priority', 'table'].map((key) => optional<unknown>(key, natural)),
  )
const link = all(
  fc.string().map((name) => ({ name })),
  optional('mac', mac),
  optional('sandbox', fc.string()),
)
const newLink = all(link, optional('mtu', natural), optional('socketPath', fc.string()), optional('pciID', fc.string()))
const ip = (address: fc.Arbitrary<string>, more: object = {}): fc.Arbitrary<object> =>
  all(
    address.map((text) => ({ address: `${text}/24`, ...more })),
    optional('gateway', address),
    optional<unknown>('interface', fc.nat(3)),
  )
/** Absent or with something in it, as programs print lists. */
const filled = (key: string, item: fc.Arbitrary<object>): fc.Arbitrary<object> =>
  optional(key, fc.array(item, { minLength: 1, maxLength: 3 }))

/** Each address is on an interface that is listed, where any is. */
function onListed<T extends object>(result: T): T {
  const { interfaces = [], ips = [] } = result as { interfaces?: object[]; ips?: { interface?: number }[] }
  for (const one of ips) {
    if (one.interface !== undefined && interfaces.length > 0) one.interface %= interfaces.length
  }
  return result
}

/** What a version can hold, as a program of that version prints it. */
const held: Record<string, fc.Arbitrary<object>> = {
  '1.x': all(
    filled('interfaces', newLink),
    filled('ips', fc.oneof(ip(v4), ip(v6))),
    filled('routes', fc.oneof(newRoute(v4), newRoute(v6))),
    dns.map((names) => (Object.keys(names).length > 0 ? { dns: names } : {})),
  ).map(onListed),
  '0.3': fc
    .record({
      interfaces: fc.array(link, { maxLength: 3 }),
      ips: fc.array(fc.oneof(ip(v4, { version: '4' }), ip(v6, { version: '6' })), { maxLength: 3 }),
      routes: fc.array(fc.oneof(route(v4), route(v6)), { maxLength: 3 }),
      dns,
    })
    .map(onListed),
  '0.2': fc
    .record({ ip4: fc.boolean(), ip6: fc.boolean() })
    .filter((which) => which.ip4 || which.ip6)
    .chain(({ ip4, ip6 }) => {
      const of = (key: string, address: fc.Arbitrary<string>): fc.Arbitrary<object> =>
        all(
          address.map((text) => ({ ip: `${text}/24` })),
          optional('gateway', address),
          filled('routes', route(address)),
        ).map((value) => ({ [key]: value }))
      return all(
        ...(ip4 ? [of('ip4', v4)] : []),
        ...(ip6 ? [of('ip6', v6)] : []),
        dns.map((names) => ({ dns: names })),
      )
    }),
}
const shapeOf = (version: string): string => (version < '0.3' ? '0.2' : version < '1' ? '0.3' : '1.x')
const plain = (value: object): unknown => JSON.parse(JSON.stringify(value))

test.each(cniVersions)('what a program of %s prints comes back unchanged', (cniVersion) => {
  fc.assert(
    fc.property(held[shapeOf(cniVersion)] ?? fc.object(), (body) => {
      const printed = { cniVersion, ...body }
      expect(plain(toVersion(parseResult('x', plain(printed), '9.9.9'), cniVersion))).toEqual(plain(printed))
    }),
  )
})

const pairs = cniVersions.flatMap((older, at) => cniVersions.slice(at).map((newer) => [older, newer] as const))

test.each(pairs)('a result of %s goes through %s and back without loss', (older, newer) => {
  fc.assert(
    fc.property(held[shapeOf(older)] ?? fc.object(), (body) => {
      const printed = plain({ cniVersion: older, ...body })
      const there = plain(toVersion(parseResult('x', printed, older), newer))
      expect(there).toMatchObject({ cniVersion: newer })
      expect(plain(toVersion(parseResult('x', there, newer), older))).toEqual(printed)
    }),
    { numRuns: 30 },
  )
})

test.each(pairs)('what %s cannot hold of a result of %s is left out once and for all', (older, newer) => {
  fc.assert(
    fc.property(held[shapeOf(newer)] ?? fc.object(), (body) => {
      const result = parseResult('x', plain({ cniVersion: newer, ...body }), newer)
      if (shapeOf(older) === '0.2' && result.ips.length === 0) {
        expect(() => toVersion(result, older)).toThrow('cannot convert: no valid IP addresses')
        return
      }
      const down = plain(toVersion(result, older))
      expect(plain(toVersion(parseResult('x', down, older), older))).toEqual(down)
    }),
    { numRuns: 30 },
  )
})

test('of several addresses 0.2.0 has the first of each family, with the routes of that family', () => {
  const result = parseResult(
    'x',
    {
      cniVersion: '1.0.0',
      ips: [{ address: '10.0.0.2/24', gateway: '10.0.0.1' }, { address: '10.0.0.3/24' }],
      routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1', mtu: 1400 }, { dst: '::/0' }],
    },
    '1.0.0',
  )
  expect(plain(toVersion(result, '0.2.0'))).toEqual({
    cniVersion: '0.2.0',
    ip4: { ip: '10.0.0.2/24', gateway: '10.0.0.1', routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }] },
    dns: {},
  })
})

test.each([
  [[], 'result of x: Invalid input'],
  [7, 'result of x: Invalid input'],
  [{ cniVersion: 'new' }, 'result of x: cniVersion: must be a version'],
  [{ cniVersion: '0.2.0', ip4: { ip: 7 } }, 'result of x: ip4.ip'],
  [{ routes: [{}] }, 'result of x: routes.0.dst'],
  [{ ips: [{ address: '10.0.0.1' }] }, 'result of x: ips.0.address: invalid CIDR address: 10.0.0.1'],
  [{ ips: [{ address: '10.0.0.1/33' }] }, 'result of x: ips.0.address: invalid CIDR address: 10.0.0.1/33'],
  [{ ips: [{ address: '10.0.0.1/8', gateway: 'x' }] }, 'result of x: ips.0.gateway: invalid IP address: x'],
  [{ routes: [{ dst: '10.0.0.0/8', gw: '10.0.0' }] }, 'result of x: routes.0.gw: invalid IP address: 10.0.0'],
  [{ routes: [{ dst: '10.0.0.0/8', scope: 256 }] }, 'result of x: routes.0.scope'],
  [{ interfaces: [{ name: 'a', mac: '02:0' }] }, 'result of x: interfaces.0.mac: must be a MAC'],
  [
    { interfaces: [{ name: 'a' }], ips: [{ address: '10.0.0.1/8', interface: 1 }] },
    'result of x: ips.0.interface: must be an index of interfaces, not 1',
  ],
  [{ ips: [{ address: '10.0.0.1/8', interface: -1 }] }, 'result of x: ips.0.interface'],
  [{ cniVersion: '0.2.0', ip4: { ip: 'x/8' } }, 'result of x: ip4.ip: invalid CIDR address: x/8'],
])('%j is no result', (value, message) => {
  expect(() => parseResult('x', value, '1.0.0')).toThrow(message)
})

test('an empty gateway is none, and plugins of addresses need not list interfaces', () => {
  const ips = [{ address: '10.0.0.1/8', gateway: '', interface: 0 }]
  expect(plain(parseResult('x', { ips }, '1.0.0').ips)).toEqual([{ address: '10.0.0.1/8', interface: 0 }])
})
