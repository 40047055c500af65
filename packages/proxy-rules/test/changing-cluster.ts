// Random sequences of changes: some two dozen Services of all kinds that come, change and go, a few at once or all.
import type { ServiceSpec } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import type { IPFamily, NodeFacts } from '@nodelet/proxy-rules'
import fc from 'fast-check'
import type { ServiceObjects } from '../src/graph/service-graph.ts'

/** What Services have after a step that they did not have before, by their key. */
export type Step = ReadonlyMap<string, ServiceObjects>

export const place = { nodeName: 'here', zone: 'z1' }
const serviceCount = 24

const protocols = fc.constantFrom(['TCP'], ['TCP', 'UDP'], ['SCTP', 'TCP'])

const one = fc.record({
  index: fc.nat(serviceCount - 1),
  isGone: fc.nat(4).map((n) => n === 0),
  type: fc.constantFrom('ClusterIP', 'ClusterIP', 'NodePort', 'LoadBalancer'),
  protocols,
  // Twice the same name is against the rules of the API, and twice the same address is not.
  sameName: fc.nat(9).map((n) => n === 0),
  externalIPs: fc.constantFrom<string[]>([], [], ['203.0.113.1'], ['203.0.113.2', '203.0.113.1', '203.0.113.2']),
  vips: fc.nat(2),
  hasRanges: fc.boolean(),
  internal: fc.constantFrom('Cluster', 'Cluster', 'Local'),
  external: fc.constantFrom('Cluster', 'Local'),
  affinity: fc.nat(3).map((n) => n === 0),
  endpoints: fc.array(fc.record({ at: fc.nat(9), isHere: fc.boolean(), ready: fc.nat(5).map((n) => n > 0) }), {
    maxLength: 5,
  }),
})

type One = typeof one extends fc.Arbitrary<infer Value> ? Value : never

const both = (family: IPFamily, v4: string, v6: string): string => (family === 'IPv4' ? v4 : v6)

function objectsOf(raw: One, family: IPFamily): ServiceObjects {
  const { index, isGone, type } = raw
  const name = `s${index}`
  const isOpen = type !== 'ClusterIP'
  const clusterIP = both(family, `10.96.0.${index + 1}`, `fd96::${index + 1}`)
  const spec: ServiceSpec = {
    type,
    clusterIP,
    ports: raw.protocols.map((protocol, at) => ({
      name: raw.sameName ? 'p' : `p${at}`,
      port: 80 + at,
      protocol,
      ...(isOpen && { nodePort: 30_000 + 10 * index + at }),
    })),
    internalTrafficPolicy: raw.internal,
    externalTrafficPolicy: raw.external,
    healthCheckNodePort: 31_000 + index,
    externalIPs: family === 'IPv4' ? raw.externalIPs : raw.externalIPs.map((ip) => ip.replace('203.0.113.', 'fd01::')),
    loadBalancerSourceRanges: raw.hasRanges ? [both(family, '192.0.2.0/24', '2001:db8::/64')] : [],
    sessionAffinity: raw.affinity ? 'ClientIP' : 'None',
  }
  const vips = isOpen ? Array.from({ length: raw.vips }, (_, n) => `${2 * index + n + 10}`) : []
  const ingress = vips.map((n) => ({ ip: both(family, `203.0.113.${n}`, `fd02::${n}`) }))
  const slice: EndpointSlice = {
    metadata: { namespace: 'shop', name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
    addressType: family,
    endpoints: raw.endpoints.map(({ at, isHere, ready }) => ({
      addresses: [both(family, `10.244.${index}.${at + 1}`, `fd44:${index}::${at + 1}`)],
      nodeName: isHere ? 'here' : 'elsewhere',
      conditions: { ready },
    })),
    ports: ['p', 'p0', 'p1'].flatMap((port) =>
      ['TCP', 'UDP', 'SCTP'].map((protocol) => ({ name: port, port: 8080, protocol })),
    ),
  }
  if (isGone) return { service: undefined, slices: [] }
  return {
    service: { metadata: { namespace: 'shop', name }, spec, status: { loadBalancer: { ingress } } },
    slices: [slice],
  }
}

const keyOf = ({ index }: One): string => `shop/s${index}/`

/** One Service, a few, or more than a shared chain is changed for rule by rule. */
const sizes = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom({ minLength: 1, maxLength: 1 }, { minLength: 1, maxLength: 4 }) },
  { weight: 1, arbitrary: fc.constant({ minLength: 12, maxLength: serviceCount }) },
)

const step = (family: IPFamily): fc.Arbitrary<Step> =>
  sizes
    .chain((size) => fc.uniqueArray(one, { ...size, selector: ({ index }) => index }))
    .map((parts) => new Map(parts.map((part) => [keyOf(part), objectsOf(part, family)])))

/** The first step is as large as any. */
export const stepsOf = (family: IPFamily, length: number): fc.Arbitrary<Step[]> =>
  fc.array(step(family), { minLength: length, maxLength: length })

/** A Service with so many endpoints that the cluster is a large one, whose chains have no comments. */
export const crowd = (endpoints: number, family: IPFamily): Step => {
  const raw = { ...quiet, index: serviceCount - 1 }
  const { service, slices } = objectsOf(raw, family)
  const [slice] = slices
  if (!slice) throw new Error('no slice')
  const many = Array.from({ length: endpoints }, (_, n) => ({
    addresses: [both(family, `10.250.${n >> 8}.${n & 255}`, `fd50::${n + 1}`)],
  }))
  return new Map([[keyOf(raw), { service, slices: [{ ...slice, endpoints: many }] }]])
}

const quiet: One = {
  index: 0,
  isGone: false,
  type: 'ClusterIP',
  protocols: ['TCP'],
  sameName: false,
  externalIPs: [],
  vips: 0,
  hasRanges: false,
  internal: 'Cluster',
  external: 'Cluster',
  affinity: false,
  endpoints: [],
}

export const facts: NodeFacts = {
  nodeIPs: { IPv4: '192.0.2.1', IPv6: '2001:db8::1' },
  interfaces: { lo: ['127.0.0.1/8'], eth0: ['192.0.2.1/24', '2001:db8::1/64'] },
  nodePortAddresses: [],
  masqueradeAll: false,
  masqueradeBit: 14,
  localhostNodePorts: true,
  localTraffic: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16', 'fd44::/16'] },
  randomFully: true,
  nfacct: false,
  conntrackLiberal: false,
}
