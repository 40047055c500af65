// What is encoded is what is read back, for all that each message can hold.
import fc from 'fast-check'
import type { Arbitrary } from 'fast-check'
import { expect, test } from 'vitest'
import { addressBytes, addressText, isWithin } from '../../src/netlink/ip.ts'
import { decodeAddress, encodeAddress } from '../../src/netlink/messages/address.ts'
import { decodePort, encodePort } from '../../src/netlink/messages/bridge-port.ts'
import { decodeVlans, encodeVlans } from '../../src/netlink/messages/bridge-vlan.ts'
import { decodeRedirect, encodeRedirect } from '../../src/netlink/messages/filter.ts'
import type { RouteProtocol, Scope, VirtualServer } from '../../src/index.ts'
import { decodeDetails, encodeDetails } from '../../src/netlink/messages/link-kinds.ts'
import type { LinkDetails } from '../../src/netlink/messages/link-kinds.ts'
import { canonicalEntry } from '../../src/netlink/messages/ipset-entry.ts'
import { decodeLink } from '../../src/netlink/messages/link.ts'
import { encodeNewLink } from '../../src/netlink/messages/link-request.ts'
import { decode, decodeAll, encode, frame, outcomeOf, unframe } from '../../src/netlink/messages/message.ts'
import {
  decodeForwarding,
  decodeNeighbour,
  encodeForwarding,
  encodeNeighbour,
} from '../../src/netlink/messages/neighbour.ts'
import { decodeQdisc, encodeQdisc } from '../../src/netlink/messages/qdisc.ts'
import { decodeRoute, encodeRoute } from '../../src/netlink/messages/route.ts'
import { decodeRule, encodeRule } from '../../src/netlink/messages/rule.ts'
import {
  decodeRealServer,
  decodeVirtualServer,
  encodeRealServer,
  encodeVirtualServer,
} from '../../src/netlink/messages/virtual-server.ts'

const u16 = fc.nat(0xffff)
const u32 = fc.nat(0xffff_ffff)
const on = fc.boolean()
const name = fc.stringMatching(/^[a-z0-9.:_-]{1,15}$/)
const bytes = (length: number): Arbitrary<Buffer> =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((array) => Buffer.from(array))
const ip4 = bytes(4).map(addressText)
const ip6 = bytes(16).map(addressText)
const ip = fc.oneof(ip4, ip6)
const mac = bytes(6).map((content) => content.toString('hex').replace(/(..)(?!$)/g, '$1:'))
const index = fc.integer({ min: 1, max: 0x7fff_ffff })
const prefix4 = fc.tuple(ip4, fc.integer({ min: 1, max: 32 })).map(([address, length]) => `${address}/${length}`)
const prefix6 = fc.tuple(ip6, fc.integer({ min: 1, max: 128 })).map(([address, length]) => `${address}/${length}`)
/** Each field may be absent. */
const some = <Fields extends object>(fields: { [Name in keyof Fields]: Arbitrary<Fields[Name]> }): Arbitrary<
  Partial<Fields>
> => fc.record(fields, { requiredKeys: [] }) as Arbitrary<Partial<Fields>>

/** What is read back is what was given. */
function holds<Value>(values: Arbitrary<Value>, roundTrip: (value: Value) => unknown): void {
  fc.assert(
    fc.property(values, (given) => {
      expect(roundTrip(given)).toEqual(given)
    }),
  )
}

const vlanProtocol = fc.constantFrom('802.1Q', '802.1ad')
const duration = fc.nat(0xffff_ffff).map((hundredths) => hundredths / 100)
const kinds: Record<LinkDetails['kind'], Arbitrary<object>> = {
  bridge: some({
    vlanFiltering: on,
    defaultPvid: u16,
    vlanProtocol,
    ageingSeconds: duration,
    forwardDelaySeconds: duration,
    stp: on,
    multicastSnooping: on,
  }),
  veth: fc.constant({}),
  vlan: some({ id: u16, protocol: vlanProtocol }),
  macvlan: some({
    mode: fc.constantFrom('private', 'vepa', 'bridge', 'passthru', 'source'),
    broadcastQueueLength: u32,
  }),
  ipvlan: some({ mode: fc.constantFrom('l2', 'l3', 'l3s') }),
  dummy: fc.constant({}),
  ifb: fc.constant({}),
  vrf: some({ table: u32 }),
  vxlan: some({ id: u32, port: u16, local: ip, remote: ip, through: u32, learning: on }),
  tun: some({
    mode: fc.constantFrom('tun', 'tap'),
    owner: u32,
    group: u32,
    persistent: on,
    multiQueue: on,
    vnetHeader: on,
  }),
}

test.each(Object.entries(kinds))('what is particular to %s', (kind, fields) => {
  fc.assert(
    fc.property(fields, (given) => {
      const details = { kind, ...given } as LinkDetails
      expect(decodeDetails(kind, decode(encode(encodeDetails(details))))).toEqual(details)
    }),
  )
})

test('a kind that is not known here has no details', () => {
  expect(decodeDetails('team', new Map())).toBeUndefined()
  expect(decodeDetails('constructor', new Map())).toBeUndefined()
})

test('links', () => {
  const settings = some({ mac, mtu: u32, group: u32, txQueueLength: u32, up: on, promiscuous: on, allMulticast: on })
  fc.assert(
    fc.property(name, settings, some({ master: index, parent: index }), (called, given, resolved) => {
      const read = decodeLink(encodeNewLink({ kind: 'dummy', name: called, ...given }, resolved))
      expect(read).toMatchObject({ name: called, kind: 'dummy', ...given, ...resolved })
    }),
  )
})

test('settings of bridge ports', () => {
  const port = some({
    state: fc.constantFrom('disabled', 'listening', 'learning', 'forwarding', 'blocking'),
    priority: u16,
    cost: u32,
    hairpin: on,
    bpduGuard: on,
    rootBlock: on,
    fastLeave: on,
    learning: on,
    unicastFlood: on,
    multicastFlood: on,
    broadcastFlood: on,
    multicastToUnicast: on,
    proxyArp: on,
    neighbourSuppress: on,
    isolated: on,
  })
  holds(port, (given) => decodePort(decode(encode(encodePort(given)))))
})

test('VLANs of bridge ports', () => {
  const set = fc.constantFrom({}, { pvid: true }, { untagged: true }, { pvid: true, untagged: true })
  const vlan = fc
    .tuple(fc.nat(4094), fc.nat(10), set)
    .map(([id, more, flags]) => ({ id, ...(more > 0 && { last: id + more }), ...flags }))
  fc.assert(
    fc.property(index, fc.array(vlan, { minLength: 1 }), on, (at, vlans, self) => {
      expect(decodeVlans(encodeVlans(at, vlans, self))).toEqual({ index: at, vlans })
    }),
  )
})

const scope = fc.constantFrom<Scope[]>('global', 'site', 'link', 'host', 'nowhere', 7)

test('addresses', () => {
  const flag = fc.constantFrom('noDad', 'tentative', 'permanent', 'noPrefixRoute', 'secondary', 'deprecated')
  const flags = fc.array(flag).map((set) => Object.fromEntries(set.map((each) => [each, true])))
  const options = some({ label: name, metric: u32, flags, broadcast: ip4, scope })
  fc.assert(
    fc.property(index, fc.oneof(prefix4, prefix6), options, (at, address, given) => {
      const family = address.includes(':') ? 6 : 4
      const read = decodeAddress(encodeAddress(at, { address, ...given }))
      expect(read).toMatchObject({ index: at, address, family, ...given })
    }),
  )
})

test('routes', () => {
  const options = some({
    metric: u32,
    mtu: u32,
    advMss: u32,
    table: fc.integer({ min: 1, max: 0xffff_ffff }),
    scope,
    type: fc.constantFrom('unicast', 'blackhole', 'unreachable', 'prohibit', 'throw', 'local'),
    protocol: fc.constantFrom<RouteProtocol[]>('kernel', 'boot', 'static', 'dhcp', 'ra', 12),
    onLink: fc.constant(true),
    source: ip4,
    gateway: ip,
  })
  const hop = fc.record({ link: index, weight: fc.integer({ min: 1, max: 256 }), gateway: ip })
  fc.assert(
    fc.property(prefix4, options, index, fc.array(hop), (destination, given, at, hops) => {
      const nextHops = hops.length > 0 ? { nextHops: hops } : {}
      const links = { index: at, hops: hops.map(({ link }) => link) }
      const read = decodeRoute(encodeRoute({ destination, ...given, ...nextHops }, links))
      expect(read).toMatchObject({ family: 4, destination, index: at, ...given })
      expect(read?.nextHops ?? []).toEqual(hops.map(({ link, ...rest }) => ({ index: link, ...rest })))
    }),
  )
  expect(decodeRoute(encodeRoute({ destination: '::/0' }, {}))).toMatchObject({ destination: '::/0', family: 6 })
})

test('rules', () => {
  const options = some({
    priority: fc.integer({ min: 1, max: 0xffff_ffff }),
    table: u32,
    mark: u32,
    mask: u32,
    inputLink: name,
    outputLink: name,
    suppressPrefixLength: fc.nat(128),
    action: fc.constantFrom('table', 'blackhole', 'unreachable', 'prohibit'),
    invert: fc.constant(true),
    vrf: fc.constant(true),
    from: prefix6,
    to: prefix6,
  })
  fc.assert(
    fc.property(options, (given) => {
      const rule = { family: 6, ...given } as const
      expect(decodeRule(encodeRule(rule))).toEqual({ priority: 0, action: 'table', ...rule })
    }),
  )
  expect(() => encodeRule({ family: 4, from: 'fd00::/8' })).toThrow('fd00::/8 is not of IPv4')
})

test('neighbours and forwarding entries', () => {
  const state = fc.constantFrom('incomplete', 'reachable', 'stale', 'delay', 'probe', 'failed', 'noArp', 'permanent')
  const neighbour = fc.record({ index, address: ip, mac, state })
  holds(neighbour, (given) => decodeNeighbour(encodeNeighbour(given)))
  const options = some({ vlan: u16, destination: ip, port: u16, vni: u32, self: fc.constant(true) })
  fc.assert(
    fc.property(index, mac, state, options, (at, address, how, given) => {
      const entry = { index: at, mac: address, state: how, ...given }
      expect(decodeForwarding(encodeForwarding(entry))).toEqual(entry)
    }),
  )
})

test('qdiscs and redirects', () => {
  const tbf = fc.record({ rate: fc.integer({ min: 1000, max: 1e12 }), ms: fc.integer({ min: 1, max: 20 }), limit: u32 })
  fc.assert(
    fc.property(index, tbf, fc.nat(0x7fff), (at, { rate, ms, limit }, handle) => {
      const burst = Math.min(Math.ceil((rate * ms) / 1000), 0xffff_ffff)
      const read = decodeQdisc(encodeQdisc(at, { kind: 'tbf', rate, burst, limit, handle }))
      expect(read).toMatchObject({ index: at, kind: 'tbf', handle, parent: 'root', details: { rate, limit } })
      // It is kept as a time, in units of 64 ns.
      const off = Math.abs((read.details?.kind === 'tbf' ? read.details.burst : 0) - burst)
      expect(off).toBeLessThanOrEqual(rate * 64e-9 + 1)
    }),
  )
  const redirect = fc.record({ index, priority: fc.integer({ min: 1, max: 0xffff }), to: index })
  holds(redirect, (given) => decodeRedirect(encodeRedirect(given)))
})

test('virtual servers and real servers', () => {
  const persistent = (most: number): Arbitrary<object> =>
    fc.record({ seconds: u32, prefixLength: fc.integer({ min: 1, max: most }) })
  const set = fc.constant<true>(true)
  const settings = { onePacket: set, fallback: set, sourcePort: set, schedulerFlag3: set }
  const server = (address: Arbitrary<string>, most: number): Arbitrary<VirtualServer> => {
    const protocol = fc.constantFrom('tcp', 'udp', 'sctp')
    const key = fc.record({ protocol, address, port: u16, scheduler: fc.stringMatching(/^[a-z]{1,15}$/) })
    return fc
      .tuple(key, some({ ...settings, persistent: persistent(most) }))
      .map(([fixed, given]) => ({ ...fixed, ...given }) as VirtualServer)
  }
  holds(fc.oneof(server(ip4, 32), server(ip6, 128)), (given) => decodeVirtualServer(encodeVirtualServer(1, given)))
  const forwarding = fc.constantFrom('masquerade', 'local', 'tunnel', 'route', 'bypass')
  const real = { port: u16, weight: fc.nat(65_535), forwarding, upperThreshold: u32, lowerThreshold: u32 }
  fc.assert(
    fc.property(server(ip, 32), fc.record({ address: ip, ...real }), (of, given) => {
      expect(decodeRealServer(encodeRealServer(5, of, given), of)).toMatchObject(given)
    }),
  )
})

test('entries of IP sets keep their text; networks lose what their length leaves out', () => {
  const port = fc.tuple(fc.constantFrom('tcp', 'udp', 'sctp'), u16).map(([protocol, number]) => `${protocol}:${number}`)
  const entry = (...parts: Arbitrary<string>[]): Arbitrary<string> => fc.tuple(...parts).map((all) => all.join(','))
  holds(ip, (given) => canonicalEntry('hash:ip', given))
  holds(entry(ip, port), (given) => canonicalEntry('hash:ip,port', given))
  holds(entry(ip, port, ip), (given) => canonicalEntry('hash:ip,port,ip', given))
  holds(u16.map(String), (given) => canonicalEntry('bitmap:port', given))
  fc.assert(
    fc.property(ip4, port, prefix4, (address, at, prefix) => {
      const [first, second, network = ''] = canonicalEntry('hash:ip,port,net', `${address},${at},${prefix}`).split(',')
      expect([first, second]).toEqual([address, at])
      expect(isWithin(prefix.split('/')[0] ?? '', network)).toBe(true)
      const bits = addressBytes(network.split('/')[0] ?? '').reduce((sum, byte) => sum * 256 + byte, 0)
      expect(bits % 2 ** (32 - Number(prefix.split('/')[1]))).toBe(0)
    }),
  )
})

test('frames and attributes, whole and cut anywhere', () => {
  const attribute = fc.tuple(
    fc.nat(0x3fff),
    fc.uint8Array().map((array) => Buffer.from(array)),
  )
  fc.assert(
    fc.property(fc.array(attribute), u16, u16, u32, (attributes, type, flags, sequence) => {
      const data = encode(attributes)
      expect(decodeAll(data)).toEqual(attributes)
      const message = { type, flags, sequence, data }
      expect(unframe(Buffer.concat([frame(message), frame(message)]))).toEqual([message, message])
    }),
  )
  const noise = fc.uint8Array().map((array) => Buffer.from(array))
  fc.assert(
    fc.property(noise, u16, u16, (data, type, flags) => {
      expect(decodeAll(data).length).toBeLessThanOrEqual(data.length / 4)
      expect(unframe(data).length).toBeLessThanOrEqual(data.length / 16)
      expect(outcomeOf({ type, flags, sequence: 0, data })).toHaveProperty('text')
    }),
  )
})
