// Random clusters and packets: all kinds of Services at one node, and packets that mostly are for one of them.
import type { Service, ServiceSpec } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import { serviceGraph } from '@nodelet/proxy-rules'
import type {
  ConnectionState,
  IPFamily,
  LocalTraffic,
  NodeFacts,
  Packet,
  Protocol,
  ServiceGraph,
} from '@nodelet/proxy-rules'
import fc from 'fast-check'

/** Objects and facts, the same for both families. */
export interface Cluster {
  services: Service[]
  endpointSlices: EndpointSlice[]
  facts: NodeFacts
}

export interface Case extends Cluster {
  family: IPFamily
  packet: Packet
}

type PerFamily = Record<IPFamily, string>

const both = (IPv4: string, IPv6: string): PerFamily => ({ IPv4, IPv6 })
const families = ['IPv4', 'IPv6'] as const

const node = both('192.0.2.1', '2001:db8::1')
const secondNode = both('198.18.0.1', '2001:db8:1::1')
const loopback = both('127.0.0.1', '::1')

/** On this node, on others, and processes of the hosts themselves. */
const places: readonly { address: PerFamily; isHere: boolean }[] = [
  ...[1, 2, 3, 4].map((n) => ({ address: both(`10.244.1.${n}`, `fd44:1::${n}`), isHere: true })),
  ...[9, 10, 11].map((n) => ({ address: both(`10.244.2.${n}`, `fd44:2::${n}`), isHere: false })),
  ...[1, 2, 3, 4, 5].map((n) => ({ address: both(`10.244.3.${n}`, `fd44:3::${n}`), isHere: false })),
  { address: node, isHere: true },
  { address: both('192.0.2.2', '2001:db8::2'), isHere: false },
]

// Each Service has addresses of its own: who has an address that two claim is not specified.
const clusterIP = (index: number): PerFamily => both(`10.96.0.${index + 1}`, `fd96::${index + 1}`)
const externalIP = (index: number): PerFamily => both(`203.0.113.${index + 1}`, `2001:db8:e::${index + 1}`)
const vip = (index: number): PerFamily => both(`203.0.113.${index + 101}`, `2001:db8:f::${index + 1}`)
const ports = [80, 443]
const nodePort = (index: number, at: number): number => 30_000 + 10 * index + at
const healthPort = (index: number): number => 31_000 + index

const texts = (address: PerFamily): string[] => families.map((family) => address[family])

const protocol = fc.constantFrom<Protocol>('TCP', 'UDP', 'SCTP')
const policy = fc.constantFrom('Cluster', 'Local')
const rarely = fc.nat(9).map((n) => n === 0)

const service = fc.record({
  type: fc.constantFrom('ClusterIP', 'NodePort', 'LoadBalancer'),
  protocols: fc.array(protocol, { minLength: 1, maxLength: 2 }),
  sameNumber: fc.boolean(),
  internal: policy,
  external: policy,
  hasExternalIP: fc.boolean(),
  externalIPIsNode: rarely,
  vips: fc.nat(2),
  ranges: fc.constantFrom(
    [],
    ['198.51.100.0/24', '2001:db8:c::/64'],
    ['198.51.100.7/32', '192.0.2.0/24', '2001:db8::/64'],
    ['10.244.0.0/16', 'fd44::/16', '198.51.100.0/25'],
    ['0.0.0.0/0', '2001:db8:c::7/128'],
  ),
  affinity: fc.nat(3).map((n) => n === 0),
})

const endpoint = fc.record({
  place: fc.nat(places.length - 1),
  ready: fc.boolean(),
  mostlyReady: fc.boolean(),
  serving: fc.boolean(),
  terminating: fc.boolean(),
  zone: fc.constantFrom(undefined, 'z1', 'z1', 'z2'),
  node: fc.constantFrom(undefined, 'here', 'elsewhere'),
})

const endpoints = fc.record({
  all: fc.uniqueArray(endpoint, { selector: ({ place }) => place, maxLength: places.length }),
  areReady: fc.boolean(),
  areHinted: fc.boolean(),
})

const localTraffic: fc.Arbitrary<LocalTraffic> = fc.constantFrom<LocalTraffic>(
  { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16', 'fd44::/16'] },
  { mode: 'NodeCIDR', cidrs: ['10.244.1.0/24', 'fd44:1::/32'] },
  { mode: 'ClusterCIDR', cidrs: [] },
  { mode: 'BridgeInterface', interface: 'cni0' },
  { mode: 'InterfaceNamePrefix', prefix: 'veth' },
)

const facts = fc
  .record({
    localTraffic,
    masqueradeAll: rarely,
    masqueradeBit: fc.constantFrom(0, 14, 31),
    localhostNodePorts: fc.boolean(),
    nodePortAddresses: fc.constantFrom<string[]>(
      [],
      ['0.0.0.0/0', '::/0'],
      ['primary'],
      ['198.18.0.0/16', '127.0.0.0/8'],
    ),
    conntrackLiberal: fc.boolean(),
    nfacct: fc.boolean(),
    randomFully: fc.boolean(),
    serviceCIDRs: fc.constantFrom<string[]>([], ['10.96.0.0/16', 'fd96::/112']),
    hasVIP: rarely,
  })
  .map(({ hasVIP, ...rest }): NodeFacts => ({
    ...rest,
    nodeIPs: node,
    interfaces: {
      lo: ['127.0.0.1/8', '::1/128', ...(hasVIP ? texts(vip(0)) : [])],
      eth0: ['192.0.2.1/24', '2001:db8::1/64'],
      eth1: ['198.18.0.1/24', '2001:db8:1::1/64'],
    },
  }))

function serviceOf(index: number, raw: ServiceValue): Service {
  const isOpen = raw.type !== 'ClusterIP'
  const isSameNumber = raw.sameNumber && new Set(raw.protocols).size === raw.protocols.length
  const externals = raw.externalIPIsNode && index === 0 ? texts(secondNode) : texts(externalIP(index))
  const spec: ServiceSpec = {
    type: raw.type,
    clusterIP: clusterIP(index).IPv4,
    clusterIPs: texts(clusterIP(index)),
    ipFamilies: [...families],
    ports: raw.protocols.map((one, at) => ({
      name: `p${at}`,
      port: isSameNumber ? 80 : (ports[at] ?? 0),
      protocol: one,
      ...(isOpen && { nodePort: nodePort(index, at) }),
    })),
    internalTrafficPolicy: raw.internal,
    externalTrafficPolicy: raw.external,
    healthCheckNodePort: healthPort(index),
    externalIPs: raw.hasExternalIP ? externals : [],
    loadBalancerSourceRanges: [...raw.ranges],
    sessionAffinity: raw.affinity ? 'ClientIP' : 'None',
  }
  const vips = isOpen ? Array.from({ length: raw.vips }, (_, n) => vip(2 * index + n)).flatMap(texts) : []
  return {
    metadata: { namespace: 'shop', name: `s${index}` },
    spec,
    status: { loadBalancer: { ingress: vips.map((ip) => ({ ip })) } },
  }
}

function slicesOf(index: number, raw: EndpointsValue): EndpointSlice[] {
  return families.map((addressType) => ({
    metadata: {
      namespace: 'shop',
      name: `s${index}-${addressType.toLowerCase()}`,
      labels: { 'kubernetes.io/service-name': `s${index}` },
    },
    addressType,
    endpoints: raw.all.map(({ place, ready, serving, terminating, zone, node: hintedNode, mostlyReady }) => {
      const where = places[place]
      return {
        addresses: [where?.address[addressType] ?? ''],
        nodeName: where?.isHere ? 'here' : 'elsewhere',
        conditions: { ready: (raw.areReady && mostlyReady) || ready, serving, terminating },
        hints: {
          forZones: raw.areHinted && zone !== undefined ? [{ name: zone }] : [],
          ...(raw.areHinted && hintedNode !== undefined && { forNodes: [{ name: hintedNode }] }),
        },
      }
    }),
    ports: ['p0', 'p1'].flatMap((name, at) =>
      (['TCP', 'UDP', 'SCTP'] as const).map((one) => ({ name, port: 8080 + at, protocol: one })),
    ),
  }))
}

type ValueOf<T> = T extends fc.Arbitrary<infer Value> ? Value : never
type ServiceValue = ValueOf<typeof service>
type EndpointsValue = ValueOf<typeof endpoints>

export const clusters: fc.Arbitrary<Cluster> = fc
  .record({ facts, parts: fc.array(fc.tuple(service, endpoints), { minLength: 1, maxLength: 3 }) })
  .map(({ facts: node, parts }) => ({
    facts: node,
    services: parts.map(([one], index) => serviceOf(index, one)),
    endpointSlices: parts.flatMap(([, one], index) => slicesOf(index, one)),
  }))

/** Who sends: from outside by eth0, from a pod by its interface, or the node itself. */
function sources(family: IPFamily): { source: string; inputInterface?: string }[] {
  const outside = [
    both('198.51.100.7', '2001:db8:c::7'),
    both('198.51.100.200', '2001:db8:c::200'),
    both('203.0.113.250', '2001:db8:ee::1'),
    both('192.0.2.2', '2001:db8::2'),
    both('10.244.2.9', 'fd44:2::9'),
    both('10.244.3.77', 'fd44:3::77'),
  ]
  const pods = [1, 2, 3, 77].map((n) => both(`10.244.1.${n}`, `fd44:1::${n}`))
  return [
    ...outside.map((address) => ({ source: address[family], inputInterface: 'eth0' })),
    ...pods.map((address) => ({ source: address[family], inputInterface: 'veth12' })),
    ...pods.map((address) => ({ source: address[family], inputInterface: 'cni0' })),
    ...[node, secondNode, loopback, vip(0)].map((address) => ({ source: address[family] })),
  ]
}

interface Destination {
  destination: string
  destinationPort: number
  protocol: Protocol
}

/** Every address of every Service, and node ports on all kinds of addresses. */
function fronts({ services }: Cluster, family: IPFamily): Destination[] {
  const isOurs = (ip: string): boolean => ip.includes(':') === (family === 'IPv6')
  return services.flatMap(({ spec, status }) => {
    const vips = (status?.loadBalancer?.ingress ?? []).map(({ ip = '' }) => ip)
    const addresses = [...(spec?.clusterIPs ?? []), ...(spec?.externalIPs ?? []), ...vips, ...vips].filter(isOurs)
    const here = [node, node, secondNode, loopback].map((address) => address[family])
    return (spec?.ports ?? []).flatMap(({ port, nodePort: open, protocol: one }) => [
      ...addresses.map((destination) => ({ destination, destinationPort: port, protocol: one as Protocol })),
      ...(open === undefined ? [] : here).map((destination) => ({
        destination,
        destinationPort: open ?? 0,
        protocol: one as Protocol,
      })),
    ])
  })
}

const elsewhere = fc.record({
  destination: fc.constantFrom(
    clusterIP(0),
    clusterIP(1),
    both('10.96.0.99', 'fd96::99'),
    node,
    secondNode,
    loopback,
    both('10.244.1.3', 'fd44:1::3'),
    both('10.244.2.9', 'fd44:2::9'),
    externalIP(0),
    vip(0),
    both('93.184.216.34', '2606:2800::1'),
  ),
  destinationPort: fc.constantFrom(80, 81, 443, 8080, 30_000, 30_001, 30_010, 31_000, 31_001),
  protocol,
})

/** What a packet becomes of, given a cluster. */
export const packetSeeds = fc.record({
  family: fc.constantFrom(...families),
  front: fc.nat(),
  isElsewhere: fc.nat(4).map((n) => n === 0),
  elsewhere,
  source: fc.nat(),
  mark: fc.constantFrom(0, 0, 0, 0, 0, 1, 0x4000, 0x80000000, 0xffffffff),
  state: fc.constantFrom<ConnectionState>('new', 'new', 'new', 'new', 'new', 'new', 'new', 'established', 'invalid'),
  remembered: fc.option(fc.nat(places.length - 1), { freq: 2 }),
})

/** A packet at the cluster's node. */
export function packetOf(cluster: Cluster, seed: ValueOf<typeof packetSeeds>): Packet {
  const { family, mark, state, remembered } = seed
  const known = seed.isElsewhere ? [] : fronts(cluster, family)
  const { destination, ...rest } = seed.elsewhere
  const target = known[seed.front % known.length] ?? { ...rest, destination: destination[family] }
  // A node that has a load balancer's address may send from it.
  const from = [...sources(family), { source: target.destination }]
  const source = from[seed.source % from.length] ?? { source: node[family] }
  const client = remembered === null ? undefined : places[remembered]?.address[family]
  const endpoint = client && `${family === 'IPv6' ? `[${client}]` : client}:8080`
  return { ...target, ...source, mark, state, ...(endpoint !== undefined && { remembered: endpoint }) }
}

/** A cluster, and a packet at its node. */
export const cases: fc.Arbitrary<Case> = fc
  .tuple(clusters, packetSeeds)
  .map(([cluster, seed]) => ({ ...cluster, family: seed.family, packet: packetOf(cluster, seed) }))

export const graphOf = ({ services, endpointSlices }: Cluster, family: IPFamily): ServiceGraph =>
  serviceGraph({ family, nodeName: 'here', zone: 'z1', services, endpointSlices })
