// Malformed facts and options: an error that names field and value, before anything is done with them.
import type { KubeClient } from '@nodelet/kube-client'
import {
  compileIptables,
  compileNftables,
  packetMeaning,
  serviceGraph,
  startProxier,
  traceService,
} from '@nodelet/proxy-rules'
import type { GraphInput, NftablesLayout, NodeFacts, Packet, ProxierOptions, ProxyMode } from '@nodelet/proxy-rules'
import { expect, test } from 'vitest'

const facts: NodeFacts = {
  nodeIPs: { IPv4: '192.0.2.1', IPv6: '2001:db8::1' },
  interfaces: { eth0: ['192.0.2.1/24', '2001:db8::1/64'] },
  nodePortAddresses: [],
  masqueradeAll: false,
  masqueradeBit: 14,
  localhostNodePorts: true,
  localTraffic: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16'] },
  randomFully: true,
  nfacct: false,
  conntrackLiberal: false,
}
const graph = serviceGraph({ family: 'IPv4', nodeName: 'here', zone: '', services: [], endpointSlices: [] })
const packet: Packet = { protocol: 'TCP', source: '192.0.2.9', destination: '10.96.0.1', destinationPort: 80 }

test.each<[field: string, value: unknown, message: string]>([
  ['nodeIPs', null, 'nodeIPs: null is no object with IPv4, IPv6 or both'],
  ['nodeIPs', ['192.0.2.1'], 'nodeIPs: ["192.0.2.1"] is no object with IPv4, IPv6 or both'],
  ['nodeIPs', { IPv4: '2001:db8::1' }, 'nodeIPs.IPv4: "2001:db8::1" is no IPv4 address'],
  ['nodeIPs', { IPv5: 'x' }, 'nodeIPs: "IPv5" is neither IPv4 nor IPv6'],
  ['interfaces', undefined, 'interfaces: nothing is no object'],
  ['interfaces', { eth0: null }, 'interfaces.eth0: null is no list'],
  ['interfaces', { eth0: [null] }, 'interfaces.eth0: null in the list is no text'],
  ['nodePortAddresses', null, 'nodePortAddresses: null is no list'],
  ['nodePortAddresses', 'primary', 'nodePortAddresses: "primary" is no list'],
  ['nodePortAddresses', [5], 'nodePortAddresses: 5 in the list is no text'],
  ['nodePortAddresses', ['10.0.0.0/33'], 'nodePortAddresses: "10.0.0.0/33" is no CIDR'],
  ['localTraffic', null, 'localTraffic: null is no object with a mode'],
  [
    'localTraffic',
    {},
    'localTraffic.mode: nothing is none of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix',
  ],
  ['localTraffic', { mode: 'Magic' }, 'localTraffic.mode: "Magic" is none of ClusterCIDR'],
  ['localTraffic', { mode: 'toString' }, 'localTraffic.mode: "toString" is none of ClusterCIDR'],
  ['localTraffic', { mode: 'ClusterCIDR', cidrs: null }, 'localTraffic.cidrs: null is no list'],
  ['localTraffic', { mode: 'NodeCIDR' }, 'localTraffic.cidrs: nothing is no list'],
  ['localTraffic', { mode: 'ClusterCIDR', cidrs: ['10.0.0.0'] }, 'localTraffic: "10.0.0.0" is no CIDR'],
  ['localTraffic', { mode: 'BridgeInterface' }, 'localTraffic.interface: nothing is no text'],
  ['localTraffic', { mode: 'InterfaceNamePrefix', prefix: 7 }, 'localTraffic.prefix: 7 is no text'],
  ['localTraffic', { mode: 'InterfaceNamePrefix', prefix: '' }, 'localTraffic: "" is no interface name'],
  ['masqueradeBit', null, 'masqueradeBit: null is no bit of a mark'],
  ['masqueradeBit', '14', 'masqueradeBit: "14" is no bit of a mark'],
  ['masqueradeAll', 'false', 'masqueradeAll: "false" is neither true nor false'],
  ['localhostNodePorts', null, 'localhostNodePorts: null is neither true nor false'],
  ['randomFully', undefined, 'randomFully: nothing is neither true nor false'],
  ['nfacct', 1, 'nfacct: 1 is neither true nor false'],
  ['conntrackLiberal', {}, 'conntrackLiberal: {} is neither true nor false'],
  ['serviceCIDRs', null, 'serviceCIDRs: null is no list'],
])('facts whose %s is %j', (field, value, message) => {
  const bad = { ...facts, [field]: value } as NodeFacts
  const error = expect.objectContaining({
    name: 'RangeError',
    message: expect.stringContaining(message) as string,
  }) as Error
  expect(() => compileIptables(graph, bad)).toThrow(error)
  for (const layout of ['compat', 'fast'] as const) expect(() => compileNftables(graph, bad, { layout })).toThrow(error)
  const program = compileIptables(graph, facts)
  if (field === 'interfaces') expect(() => traceService(program, packet, bad)).toThrow(error)
})

test('facts that are none at all', () => {
  const none = null as unknown as NodeFacts
  const program = compileIptables(graph, facts)
  for (const use of [
    () => compileIptables(graph, none),
    () => compileNftables(graph, none),
    () => packetMeaning(graph, none, packet, 'iptables'),
  ])
    expect(use).toThrow(new RangeError('facts: null is no object'))
  expect(() => traceService(program, packet, none)).toThrow(new RangeError('node: null is no object with interfaces'))
})

test.each<[field: string, value: unknown, message: string]>([
  ['family', 'ipv4', 'family: "ipv4" is neither IPv4 nor IPv6'],
  [
    'services',
    { kind: 'List', items: [] },
    'services: {"kind":"List","items":[]} is no list; give the items of a List',
  ],
  ['endpointSlices', undefined, 'endpointSlices: nothing is no list; give the items of a List'],
])('a graph of which %s is %j', (field, value, message) => {
  const input = { family: 'IPv4', nodeName: 'here', zone: '', services: [], endpointSlices: [], [field]: value }
  expect(() => serviceGraph(input as unknown as GraphInput)).toThrow(new RangeError(message))
})

test('a layout and a mode that are none', () => {
  const layout = 'Fast' as NftablesLayout
  expect(() => compileNftables(graph, facts, { layout })).toThrow(
    new RangeError('layout: "Fast" is none; use compat or fast'),
  )
  expect(() => packetMeaning(graph, facts, packet, 'nft' as ProxyMode)).toThrow(
    new RangeError('mode: "nft" is none; use iptables, ipvs or nftables'),
  )
})

const options: ProxierOptions = {
  client: {} as KubeClient,
  nodeName: 'here',
  nodeIPs: ['192.0.2.1'],
  localTraffic: facts.localTraffic,
  // Where there is no network, in case one starts all the same.
  netns: '/nowhere',
}

test.each<[field: string, value: unknown, message: string]>([
  ['nodeName', undefined, 'nodeName: nothing is no name'],
  ['nodeIPs', null, 'nodeIPs: null is no list'],
  ['nodeIPs', ['192.0.2.1', 'x'], 'nodeIPs: "x" is no IP address'],
  ['nodeIPs', [null], 'nodeIPs: null is no IP address'],
  ['localTraffic', undefined, 'localTraffic: nothing is no object with a mode'],
  ['localTraffic', { mode: 'Magic' }, 'localTraffic.mode: "Magic" is none of'],
  ['localTraffic', { mode: 'ClusterCIDR', cidrs: ['10.0.0.0'] }, 'localTraffic: "10.0.0.0" is no CIDR'],
  ['nodePortAddresses', 'primary', 'nodePortAddresses: "primary" is no list'],
  ['nodePortAddresses', ['primary', '10.0.0.0/8'], 'nodePortAddresses: "primary" is no CIDR'],
  ['masqueradeAll', 'yes', 'masqueradeAll: "yes" is neither true nor false'],
  ['masqueradeBit', 32, 'masqueradeBit: 32 is no bit of a mark'],
  ['mode', 'nft', 'mode: "nft" is none'],
  ['nftablesLayout', 'Fast', 'nftablesLayout: "Fast" is none; use compat or fast'],
])('a proxier whose %s is %j does not start', async (field, value, message) => {
  await expect(startProxier({ ...options, [field]: value } as ProxierOptions)).rejects.toThrow(
    expect.objectContaining({ name: 'RangeError', message: expect.stringContaining(message) as string }) as Error,
  )
})
