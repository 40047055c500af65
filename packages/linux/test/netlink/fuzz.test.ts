// Messages that are cut off, changed or garbage are read, or refused by an error that says why; none is read for ever.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeAccount, encodeAccountName } from '../../src/netlink/messages/accounting.ts'
import { decodeAddress, encodeAddress } from '../../src/netlink/messages/address.ts'
import { decodePort, encodePort } from '../../src/netlink/messages/bridge-port.ts'
import { decodeVlans, encodeVlans } from '../../src/netlink/messages/bridge-vlan.ts'
import { decodeFeatures } from '../../src/netlink/messages/feature.ts'
import { decodeRedirect, encodeRedirect } from '../../src/netlink/messages/filter.ts'
import { decodeFlow } from '../../src/netlink/messages/flow.ts'
import { decodeFamily } from '../../src/netlink/messages/generic.ts'
import { decodeSets, encodeEntries, encodeNewSet } from '../../src/netlink/messages/ipset.ts'
import { decodeEntry, encodeEntry } from '../../src/netlink/messages/ipset-entry.ts'
import { decodeLink } from '../../src/netlink/messages/link.ts'
import { encodeNewLink } from '../../src/netlink/messages/link-request.ts'
import { decode, encode } from '../../src/netlink/messages/message.ts'
import type { Attribute } from '../../src/netlink/messages/message.ts'
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
  decodeTimeouts,
  decodeVersion,
  decodeVirtualServer,
  encodeRealServer,
  encodeVirtualServer,
} from '../../src/netlink/messages/virtual-server.ts'

const mac = '02:00:00:00:00:01'
const server = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'rr' } as const
const ipset = { name: 'x', type: 'hash:ip,port,net', family: 4 } as const
const hops = [{ link: 1, gateway: '10.0.0.1' }, { link: 2 }]
/** Attributes within attributes, of all numbers that there may be. */
const nests: fc.Arbitrary<Attribute[]> = fc.letrec<{ list: Attribute[] }>((tie) => ({
  list: fc.array(
    fc.tuple(
      fc.nat(50),
      fc.oneof(
        { maxDepth: 3 },
        fc.uint8Array({ maxLength: 9 }).map((some) => Buffer.from(some)),
        tie('list'),
      ),
    ),
  ),
})).list
const garbage = fc
  .tuple(fc.uint8Array({ maxLength: 70 }), nests)
  .map(([head, list]) => Buffer.concat([head, encode(list)]))

const decoders: Record<string, { good: readonly Buffer[]; read: (data: Buffer) => unknown }> = {
  addresses: { good: [encodeAddress(3, { address: '10.0.0.1/24', label: 'x', metric: 7 })], read: decodeAddress },
  links: {
    good: [
      encodeNewLink({ kind: 'vxlan', name: 'x', mac, id: 5, port: 7, remote: 'fd00::1' }, {}),
      encodeNewLink({ kind: 'bridge', name: 'x', vlanFiltering: true, vlanProtocol: '802.1ad', stp: true }, {}),
    ],
    read: decodeLink,
  },
  'ports of bridges': {
    good: [encode(encodePort({ state: 'blocking', cost: 7 }))],
    read: (data) => decodePort(decode(data)),
  },
  'VLANs of ports': {
    good: [
      encodeVlans(
        3,
        [
          { id: 5, last: 9 },
          { id: 11, pvid: true },
        ],
        true,
      ),
    ],
    read: decodeVlans,
  },
  routes: {
    good: [
      encodeRoute({ destination: '10.0.0.0/8', gateway: 'fd00::1', mtu: 1400, metric: 7 }, { index: 3 }),
      encodeRoute({ destination: 'fd00::/64', nextHops: hops }, { hops: [1, 2] }),
    ],
    read: decodeRoute,
  },
  rules: { good: [encodeRule({ family: 4, from: '10.0.0.0/8', table: 7, mark: 5, inputLink: 'x' })], read: decodeRule },
  neighbours: {
    good: [encodeNeighbour({ index: 3, address: '10.0.0.1', mac, state: 'permanent' })],
    read: decodeNeighbour,
  },
  'forwarding entries': {
    good: [encodeForwarding({ index: 3, mac, state: 'noArp', vlan: 7 })],
    read: decodeForwarding,
  },
  qdiscs: { good: [encodeQdisc(3, { kind: 'tbf', rate: 1e9, burst: 9000, limit: 7, handle: 1 })], read: decodeQdisc },
  redirects: { good: [encodeRedirect({ index: 3, priority: 1, to: 4 })], read: decodeRedirect },
  flows: { good: [], read: decodeFlow },
  families: { good: [], read: decodeFamily },
  'accounting objects': { good: [encodeAccountName('x')], read: decodeAccount },
  features: { good: [], read: decodeFeatures },
  'virtual servers': { good: [encodeVirtualServer(1, server)], read: decodeVirtualServer },
  'real servers': {
    good: [encodeRealServer(1, server, { address: '10.0.0.2', port: 8080 })],
    read: (data) => decodeRealServer(data, server),
  },
  'time limits of virtual servers': { good: [], read: decodeTimeouts },
  'the version of IPVS': { good: [], read: decodeVersion },
  'IP sets': {
    good: [encodeNewSet(ipset), encodeEntries(ipset, ['10.0.0.1,tcp:80,10.0.0.0/8'])],
    read: (data) => decodeSets([encodeNewSet(ipset), data]),
  },
  'entries of IP sets': {
    good: [encode(encodeEntry('hash:ip,port,net', '10.0.0.1,tcp:80,10.0.0.0/8'))],
    read: (data) => decodeEntry('hash:ip,port,net', data),
  },
}

test.each(Object.entries(decoders))('%s', (_, { good, read }) => {
  const spoiled = good.map((message) =>
    fc
      .tuple(fc.nat(message.length), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }))
      .map(([length, changes]) => {
        const copy = Buffer.from(message.subarray(0, length))
        for (const [at, byte] of changes) if (length > 0) copy[at % length] = byte
        return copy
      }),
  )
  const families = fc.constantFrom(0, 2, 7, 10)
  const withFamily = fc.tuple(garbage, families).map(([data, family]) => Buffer.concat([Buffer.from([family]), data]))
  fc.assert(
    fc.property(fc.oneof(garbage, withFamily, ...spoiled), (data) => {
      try {
        read(data)
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError)
        expect((error as Error).message).toMatch(/^(a message of|\d+ bytes of|an IP address of) /)
      }
    }),
    { numRuns: 500 },
  )
})
