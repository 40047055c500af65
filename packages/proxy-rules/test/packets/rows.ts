// What packets to Services meet with, one row for each feature of a service proxy.
import type { LocalTraffic, NodeFacts } from '@nodelet/proxy-rules'
import type { EndpointRow, Fate, PacketRow, Row, Sender, Target } from './row.ts'
import { herd, herdPort, largestHerd, places, type Place } from './places.ts'

const kept = (...reaches: string[]): Fate => ({ reaches, source: 'kept' })
const masqueraded = (...reaches: string[]): Fate => ({ reaches, source: 'masqueraded' })
const lostBehind = (...reaches: string[]): Fate => ({ reaches, source: 'kept', isLost: true })

/** The same from and to several. */
function each(from: Sender | readonly Sender[], to: Target | readonly Target[], fate: Fate, more = {}): PacketRow[] {
  const senders = typeof from === 'string' ? [from] : from
  const targets = typeof to === 'string' ? [to] : to
  return senders.flatMap((sender) => targets.map((target) => ({ from: sender, to: target, fate, ...more })))
}

const ready = (...places: Place[]): EndpointRow[] => places.map((at) => ({ at }))
const leaving = (...places: Place[]): EndpointRow[] =>
  places.map((at) => ({ at, ready: false, serving: true, terminating: true }))
const gone = (...places: Place[]): EndpointRow[] =>
  places.map((at) => ({ at, ready: false, serving: false, terminating: true }))

const toHerd = (count: number, sample = 100): PacketRow[] =>
  each('client', 'cluster IP', masqueraded(...herd(count).map((place) => `${place}:${herdPort}`)), { sample })
const ofHerd = { protocols: ['TCP'], targetPorts: { TCP: herdPort } } as const

const outer: readonly Target[] = ['node port', 'external IP', 'VIP']
const iptables = { mode: 'iptables' }
const nftables = { mode: 'nftables' }
const ipvs = { mode: 'ipvs' }
const notIpvs = { mode: ['iptables', 'nftables'] }
const notNftables = { mode: ['iptables', 'ipvs'] }
const notIptables = { mode: ['nftables', 'ipvs'] }
const v4 = { family: 'IPv4' } as const
const v6 = { family: 'IPv6' } as const
const affinity = (timeoutSeconds: number) =>
  ({ sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds } } }) as const

/** Refused from everywhere, but from the node itself in iptables mode where only packets that come in are refused. */
const refusedEverywhere: PacketRow[] = [
  ...each(['client', 'c'], ['cluster IP', ...outer], 'refused'),
  ...each('node', ['cluster IP', 'node port'], 'refused'),
  ...each('node', ['external IP', 'VIP'], 'untouched', iptables),
  ...each('node', ['external IP', 'VIP'], 'refused', notIptables),
]

const clusterRows: Row[] = [
  {
    name: 'a cluster IP leads to all endpoints; only the sources of pods are kept',
    service: {},
    endpoints: ready('a', 'b', 'x'),
    packets: [
      ...each(['client', 'node', 'other'], 'cluster IP', masqueraded('a', 'b', 'x')),
      ...each('c', 'cluster IP', kept('a', 'b', 'x')),
    ],
  },
  {
    name: 'endpoints get equal shares',
    service: {},
    endpoints: ready('a', 'b', 'c'),
    packets: each('client', 'cluster IP', masqueraded('a', 'b', 'c'), { evenly: 150, ...v4, protocol: 'TCP' }),
  },
  {
    name: 'of an endpoint the first address counts; one that is there twice counts once, whatever else is said of it',
    service: {},
    endpoints: [{ at: 'a', also: ['c'] }, ...leaving('a'), { at: 'a' }, { at: 'b' }],
    packets: each('client', 'cluster IP', masqueraded('a', 'b'), { evenly: 150, ...v4, protocol: 'TCP' }),
    notIn: { ipvs: 'what endpoints are is the same for all modes' },
  },
  {
    name: 'ten endpoints and more, to the last that the layout fast has rules for, and one beyond',
    service: ofHerd,
    endpoints: ready(...herd(11)),
    packets: toHerd(11),
    next: [16, 17].map((count) => ({ endpoints: ready(...herd(count)), packets: toHerd(count) })),
    notIn: { ipvs: 'its tables have no layout' },
  },
  {
    name: 'a pod that comes to itself is masqueraded',
    service: {},
    endpoints: ready('a'),
    packets: [...each('a', 'cluster IP', masqueraded('a')), ...each(['b', 'x'], 'cluster IP', kept('a'))],
  },
  {
    name: 'a pod elsewhere that comes to itself through this node is masqueraded',
    service: {},
    endpoints: ready('x'),
    packets: each('x', 'cluster IP', masqueraded('x')),
    notIn: {
      nftables: 'it knows only its own endpoints to come to themselves (9.8)',
      ipvs: 'KUBE-LOOP-BACK has only its own endpoints (8.9)',
    },
  },
  {
    name: 'an endpoint may be on the host network',
    service: {},
    endpoints: ready('node'),
    packets: each(['client', 'c'], 'cluster IP', kept('node')),
  },
  {
    name: 'ports that differ by protocol alone, in name and number the same, each have a target of their own (18.9)',
    service: { type: 'NodePort', targetPorts: { UDP: 8081 }, portName: 'dns' },
    endpoints: ready('a', 'x'),
    packets: (['cluster IP', 'node port'] as const).flatMap((to) => [
      { from: 'client', to, protocol: 'TCP', fate: masqueraded('a', 'x') },
      { from: 'client', to, protocol: 'UDP', fate: masqueraded('a:8081', 'x:8081') },
    ]),
  },
  {
    name: 'SCTP: cluster IP and node port, then no endpoint on this node, then none',
    service: { type: 'NodePort', protocols: ['SCTP'], spec: { internalTrafficPolicy: 'Local' } },
    endpoints: ready('a', 'x'),
    packets: [...each('client', 'cluster IP', masqueraded('a')), ...each('client', 'node port', masqueraded('a', 'x'))],
    next: [
      {
        endpoints: ready('x'),
        packets: [
          ...each('client', 'cluster IP', 'dropped', notIpvs),
          ...each('client', 'cluster IP', masqueraded('x'), ipvs),
        ],
      },
      { endpoints: [], packets: each('client', ['cluster IP', 'node port'], 'refused') },
    ],
  },
  {
    name: 'without endpoints all is refused at once',
    service: { type: 'LoadBalancer', hasExternalIP: true, vip: 'VIP' },
    endpoints: [],
    packets: refusedEverywhere,
  },
  {
    name: 'endpoints that are not ready, or leave and do not serve, are none',
    service: { type: 'LoadBalancer', hasExternalIP: true, vip: 'VIP' },
    endpoints: [{ at: 'a', ready: false }, ...gone('b', 'x')],
    packets: refusedEverywhere,
  },
  {
    name: 'those that leave serve as long as none is ready',
    service: {},
    endpoints: [...leaving('a', 'x'), ...gone('b')],
    packets: each('client', 'cluster IP', masqueraded('a', 'x')),
    next: [
      { endpoints: [...leaving('a', 'x'), ...ready('c')], packets: each('client', 'cluster IP', masqueraded('c')) },
    ],
  },
  {
    name: 'other ports of a cluster IP: nothing, or refused; an address of nobody: nothing',
    service: {},
    endpoints: ready('a'),
    packets: [
      ...each(['client', 'c', 'node'], 'another port of the cluster IP', 'untouched', iptables),
      ...each(['client', 'c', 'node'], 'another port of the cluster IP', 'refused', notIptables),
      ...each(['client', 'c'], 'a cluster IP of nobody', 'untouched'),
    ],
  },
  {
    name: 'addresses of no Service within the ServiceCIDRs',
    service: {},
    endpoints: ready('a'),
    setting: { serviceCIDRs: ['10.96.0.0/16', 'fd96::/112'] },
    packets: [
      ...each(['client', 'c', 'node'], 'a cluster IP of nobody', 'untouched', notNftables),
      ...each(['client', 'c', 'node'], 'a cluster IP of nobody', 'dropped', nftables),
      ...each('client', 'cluster IP', masqueraded('a')),
    ],
  },
  {
    name: 'a Service comes, changes its type and its policies, and goes',
    isThere: false,
    service: {},
    endpoints: ready('a', 'x'),
    packets: each('client', 'cluster IP', 'untouched'),
    next: [
      { isThere: true, packets: each('client', 'cluster IP', masqueraded('a', 'x')) },
      { service: { type: 'NodePort' }, packets: each('client', 'node port', masqueraded('a', 'x')) },
      {
        service: { type: 'NodePort', spec: { externalTrafficPolicy: 'Local', internalTrafficPolicy: 'Local' } },
        packets: [...each('client', 'node port', kept('a')), ...each('client', 'cluster IP', masqueraded('a'))],
      },
      { service: { hasExternalIP: true }, packets: each('client', 'external IP', masqueraded('a', 'x')) },
      { isThere: false, packets: each('client', ['cluster IP', 'external IP'], 'untouched') },
    ],
  },
  {
    name: 'ExternalName and headless Services have no packets',
    service: { hasExternalIP: true, vip: 'VIP', spec: { type: 'ExternalName', externalName: 'example.com' } },
    endpoints: ready('a'),
    packets: each('client', ['cluster IP', 'external IP', 'VIP'], 'untouched'),
    next: [
      {
        service: { hasExternalIP: true, vip: 'VIP', spec: { clusterIP: 'None', clusterIPs: ['None'] } },
        packets: each('client', ['external IP', 'VIP'], 'untouched'),
      },
    ],
  },
]

const policyRows: Row[] = [
  {
    name: 'external policy Cluster: everybody comes to all endpoints, masqueraded',
    service: { type: 'LoadBalancer', hasExternalIP: true, vip: 'VIP' },
    endpoints: ready('a', 'x'),
    packets: each(['client', 'other', 'c', 'node'], outer, masqueraded('a', 'x')),
  },
  {
    name: 'external policy Local: who comes from outside stays here and keeps its source; pods and the node come to all, but for IPVS',
    service: { type: 'LoadBalancer', hasExternalIP: true, vip: 'VIP', spec: { externalTrafficPolicy: 'Local' } },
    endpoints: ready('a', 'x'),
    packets: [
      ...each(['client', 'other'], outer, kept('a')),
      ...each('c', outer, kept('a', 'x'), notIpvs),
      ...each('node', outer, masqueraded('a', 'x'), notIpvs),
      ...each(['c', 'node'], outer, kept('a'), ipvs),
      ...each('client', 'cluster IP', masqueraded('a', 'x')),
    ],
    next: [
      {
        endpoints: ready('x'),
        packets: [
          ...each(['client', 'other'], outer, 'dropped', notIpvs),
          ...each('client', outer, lostBehind('x'), ipvs),
          ...each('c', outer, kept('x')),
          ...each('node', outer, masqueraded('x'), notIpvs),
          ...each('node', outer, kept('x'), ipvs),
        ],
      },
      { endpoints: gone('a', 'x'), packets: refusedEverywhere },
    ],
  },
  {
    name: 'external policy Local: those that leave serve as long as none here is ready',
    service: { type: 'NodePort', spec: { externalTrafficPolicy: 'Local' } },
    endpoints: [...leaving('a'), ...ready('x')],
    packets: [
      ...each('client', 'node port', kept('a')),
      ...each('c', 'node port', kept('x'), notIpvs),
      ...each('c', 'node port', kept('a'), ipvs),
    ],
    next: [
      {
        endpoints: [...leaving('a'), ...ready('b')],
        packets: [...each('client', 'node port', kept('b')), ...each('c', 'node port', kept('b'))],
      },
      {
        endpoints: leaving('a', 'x'),
        packets: [
          ...each('client', 'node port', kept('a')),
          ...each('c', 'node port', kept('a', 'x'), notIpvs),
          ...each('c', 'node port', kept('a'), ipvs),
        ],
      },
      {
        endpoints: [...gone('a'), ...leaving('x')],
        packets: [
          ...each('client', 'node port', 'dropped', notIpvs),
          ...each('client', 'node port', lostBehind('x'), ipvs),
        ],
      },
    ],
  },
  {
    name: 'external policy Local of a ClusterIP Service is that of its external IPs',
    service: { hasExternalIP: true, spec: { externalTrafficPolicy: 'Local' } },
    endpoints: ready('a', 'x'),
    packets: [...each('client', 'external IP', kept('a')), ...each('client', 'cluster IP', masqueraded('a', 'x'))],
  },
  {
    name: 'an endpoint of which nobody says where it is is not here',
    service: { type: 'NodePort', spec: { externalTrafficPolicy: 'Local', internalTrafficPolicy: 'Local' } },
    endpoints: [{ at: 'a', hasNoNode: true }, ...ready('b')],
    packets: [
      ...each('client', 'node port', kept('b')),
      ...each('c', 'cluster IP', kept('b')),
      ...each('c', 'node port', kept('a', 'b')),
    ],
    notIn: { ipvs: 'what endpoints are is the same for all modes' },
  },
  {
    name: 'internal policy Local: the cluster IP leads to this node; outer addresses do not care',
    service: { type: 'NodePort', spec: { internalTrafficPolicy: 'Local' } },
    endpoints: ready('a', 'x'),
    packets: [
      ...each(['client', 'node'], 'cluster IP', masqueraded('a')),
      ...each('c', 'cluster IP', kept('a')),
      ...each('client', 'node port', masqueraded('a', 'x')),
    ],
    next: [
      { endpoints: [...leaving('a'), ...ready('x')], packets: each('c', 'cluster IP', kept('a')) },
      {
        endpoints: ready('x'),
        packets: [
          ...each(['client', 'node', 'c'], 'cluster IP', 'dropped', notIpvs),
          ...each(['client', 'node'], 'cluster IP', masqueraded('x'), ipvs),
          ...each('c', 'cluster IP', kept('x'), ipvs),
          ...each('client', 'node port', masqueraded('x')),
        ],
      },
      { endpoints: [], packets: each(['client', 'node', 'c'], 'cluster IP', 'refused') },
    ],
  },
  {
    name: 'both policies Local: pods and the node still need all endpoints, for outer addresses (18.4)',
    service: { type: 'NodePort', spec: { internalTrafficPolicy: 'Local', externalTrafficPolicy: 'Local' } },
    endpoints: ready('a', 'x'),
    packets: [
      ...each('client', 'node port', kept('a')),
      ...each('client', 'cluster IP', masqueraded('a')),
      ...each('c', 'node port', kept('a', 'x'), notIpvs),
      ...each('node', 'node port', masqueraded('a', 'x'), notIpvs),
      ...each('c', 'node port', kept('a'), ipvs),
    ],
    next: [
      {
        endpoints: ready('x'),
        packets: [
          ...each('client', ['node port', 'cluster IP'], 'dropped', notIpvs),
          ...each('client', 'node port', lostBehind('x'), ipvs),
          ...each('client', 'cluster IP', masqueraded('x'), ipvs),
        ],
      },
    ],
  },
  {
    name: 'internal policy Local of a Service that nobody outside may come to, without endpoints here',
    service: { spec: { internalTrafficPolicy: 'Local' } },
    endpoints: ready('x'),
    packets: [
      ...each(['client', 'c', 'node'], 'cluster IP', 'dropped', notIpvs),
      ...each(['client', 'c', 'node'], 'cluster IP', 'refused', ipvs),
    ],
  },
]

const loadBalancer = { type: 'LoadBalancer', hasExternalIP: true, vip: 'VIP' } as const
const ranges = (...loadBalancerSourceRanges: string[]) =>
  ({ ...loadBalancer, spec: { loadBalancerSourceRanges } }) as const

const addressRows: Row[] = [
  {
    name: 'an ingress without ipMode is a VIP, also of a ClusterIP Service',
    service: { vip: 'unset' },
    endpoints: ready('a'),
    packets: each(['client', 'c', 'node'], 'VIP', masqueraded('a')),
  },
  {
    name: 'an ingress of ipMode Proxy is none of ours',
    service: { type: 'LoadBalancer', vip: 'Proxy' },
    endpoints: ready('a'),
    packets: [...each(['client', 'c'], 'VIP', 'untouched'), ...each('client', 'node port', masqueraded('a'))],
  },
  {
    name: 'source ranges are for VIPs alone',
    service: ranges(' 198.51.100.0/24 ', '2001:db8:c::/64', 'nonsense'),
    endpoints: ready('a'),
    packets: [
      ...each('client', 'VIP', masqueraded('a')),
      ...each(['stranger', 'c'], 'VIP', 'dropped'),
      ...each('node', 'VIP', 'dropped', notIpvs),
      ...each('node', 'VIP', masqueraded('a'), ipvs),
      ...each('stranger', ['cluster IP', 'external IP', 'node port'], masqueraded('a')),
    ],
    next: [{ service: loadBalancer, packets: each(['stranger', 'c', 'node'], 'VIP', masqueraded('a')) }],
  },
  {
    name: 'pods and the node need a source range as others do',
    service: ranges('10.244.1.0/24', 'fd44:1::/64', '192.0.2.0/24', '2001:db8::/64'),
    endpoints: ready('a'),
    packets: [...each(['c', 'node', 'other'], 'VIP', masqueraded('a')), ...each('client', 'VIP', 'dropped')],
  },
  {
    name: 'with source ranges, external policy Local takes its own ways',
    service: {
      ...loadBalancer,
      spec: {
        loadBalancerSourceRanges: ['10.244.1.0/24', 'fd44:1::/64', '198.51.100.0/24', '2001:db8:c::/64'],
        externalTrafficPolicy: 'Local',
      },
    },
    endpoints: ready('a', 'x'),
    packets: [
      ...each('c', 'VIP', kept('a', 'x'), notIpvs),
      ...each('client', 'VIP', kept('a')),
      ...each('stranger', 'VIP', 'dropped'),
      ...each('node', 'VIP', 'dropped', notIpvs),
      ...each(['c', 'node'], 'VIP', kept('a'), ipvs),
    ],
    next: [
      {
        endpoints: ready('x'),
        packets: [
          ...each('c', 'VIP', kept('x')),
          ...each('stranger', 'VIP', 'dropped'),
          ...each('client', 'VIP', 'dropped', notIpvs),
          ...each('client', 'VIP', lostBehind('x'), ipvs),
        ],
      },
    ],
  },
  {
    name: 'a range of everything opens its family',
    service: ranges('0.0.0.0/0', '192.0.2.0/24', '2001:db8:c::/64'),
    endpoints: ready('a'),
    packets: [...each('stranger', 'VIP', masqueraded('a'), v4), ...each('stranger', 'VIP', 'dropped', v6)],
  },
  {
    name: 'ranges of the other family alone leave a family open',
    service: ranges('2001:db8:c::/64'),
    endpoints: ready('a'),
    packets: [...each('stranger', 'VIP', masqueraded('a'), v4), ...each('stranger', 'VIP', 'dropped', v6)],
  },
  {
    name: 'without endpoints source ranges still bind, but for iptables mode',
    service: ranges('198.51.100.0/24', '2001:db8:c::/64'),
    endpoints: [],
    packets: [
      ...each('client', 'VIP', 'refused'),
      ...each('stranger', 'VIP', 'refused', iptables),
      ...each('stranger', 'VIP', 'dropped', notIptables),
    ],
  },
  {
    name: 'a node that has the VIP itself reaches it from there when a range has the node in it',
    service: ranges('192.0.2.0/24', '2001:db8::/64'),
    endpoints: ready('a', 'x'),
    setting: { ownsVIP: true },
    packets: [...each(['VIP of the node', 'node'], 'VIP', masqueraded('a', 'x')), ...each('client', 'VIP', 'dropped')],
  },
  {
    name: 'a node that has the VIP itself does not when none has',
    service: ranges('198.51.100.0/24', '2001:db8:c::/64'),
    endpoints: ready('a', 'x'),
    setting: { ownsVIP: true },
    packets: [
      ...each('VIP of the node', 'VIP', 'dropped'),
      ...each('node', 'VIP', 'dropped', notIpvs),
      ...each('node', 'VIP', masqueraded('a', 'x'), ipvs),
      ...each('client', 'VIP', masqueraded('a', 'x')),
    ],
  },
]

addressRows.push({
  name: 'an external IP may be an address of the node (18.5)',
  service: { spec: { externalIPs: [places.node.address.IPv4, places.node.address.IPv6] } },
  endpoints: ready('a', 'x'),
  packets: each(['client', 'c', 'node'], 'service port of the node', masqueraded('a', 'x')),
  next: [{ endpoints: [], packets: each(['client', 'c'], 'service port of the node', 'refused') }],
  notIn: { ipvs: 'what its device must not have is tried in ipvs.test.ts' },
})

const everyNodePort = [
  'node port',
  'node port of the second address',
  'node port of the gateway',
] as const satisfies Target[]
const [, second, gateway] = everyNodePort
const nodePortRows: Row[] = [
  {
    name: 'node ports are on all addresses, in iptables mode on 127.0.0.1 too; in nftables mode on the primary ones',
    service: { type: 'NodePort' },
    endpoints: ready('a', 'x'),
    packets: [
      ...each(['client', 'c'], everyNodePort, masqueraded('a', 'x'), notNftables),
      ...each(['client', 'c'], 'node port', masqueraded('a', 'x'), nftables),
      ...each('client', [second, gateway], 'untouched', nftables),
      ...each('loopback of the node', 'node port of loopback', masqueraded('a', 'x'), { ...iptables, ...v4 }),
      ...each('loopback of the node', 'node port of loopback', 'untouched', { ...iptables, ...v6 }),
      ...each('loopback of the node', 'node port of loopback', 'untouched', notIptables),
    ],
  },
  {
    name: 'who is outside does not come to 127.0.0.1, though node ports of loopback need it to be routed',
    service: { type: 'NodePort' },
    endpoints: ready('a'),
    packets: [
      ...each('client', 'a server on loopback', 'dropped', v4),
      ...each('loopback of the node', 'a server on loopback', kept('loopback')),
    ],
    notIn: { nftables: 'it never has them, and nothing is routed (9.12)', ipvs: 'it never has them (8.13)' },
  },
  {
    name: 'node ports of loopback can be turned off',
    service: { type: 'NodePort' },
    endpoints: ready('a'),
    setting: { facts: { localhostNodePorts: false }, routesLocalnet: true },
    packets: [
      // Nothing then keeps 127.0.0.0/8 to the node, if somebody has it routed.
      ...each('client', 'a server on loopback', kept('loopback'), v4),
      ...each('loopback of the node', 'node port of loopback', 'untouched'),
      ...each('node', 'node port', masqueraded('a')),
    ],
    notIn: { nftables: 'it never has them (9.12)' },
  },
  {
    name: 'nodePortAddresses selects',
    service: { type: 'NodePort' },
    endpoints: ready('a'),
    setting: { facts: { nodePortAddresses: ['198.18.0.0/16', '2001:db8:1::/64'] } },
    packets: [
      ...each(['client', 'c', 'node'], second, masqueraded('a')),
      ...each(['client', 'c'], ['node port', gateway], 'untouched'),
      ...each('loopback of the node', 'node port of loopback', 'untouched'),
    ],
    next: [
      {
        endpoints: [],
        packets: [
          ...each('client', second, 'refused'),
          ...each('client', 'node port', 'refused', iptables),
          ...each('client', 'node port', 'untouched', notIptables),
        ],
      },
    ],
  },
  {
    name: 'nodePortAddresses may select loopback',
    service: { type: 'NodePort' },
    endpoints: ready('a'),
    setting: { facts: { nodePortAddresses: ['127.0.0.0/8', '::1/128'] } },
    packets: [
      ...each('loopback of the node', 'node port of loopback', masqueraded('a'), { ...iptables, ...v4 }),
      ...each('loopback of the node', 'node port of loopback', 'untouched', { ...iptables, ...v6 }),
      // Loopback addresses are skipped (9.12).
      ...each('loopback of the node', 'node port of loopback', 'untouched', nftables),
      ...each('client', everyNodePort, 'untouched'),
    ],
    notIn: { ipvs: 'they are skipped (8.4, 8.13)' },
  },
  {
    name: 'nodePortAddresses primary',
    service: { type: 'NodePort' },
    endpoints: ready('a'),
    setting: { facts: { nodePortAddresses: ['primary'] } },
    packets: [
      ...each(['client', 'c'], 'node port', masqueraded('a')),
      ...each('client', [second, gateway], 'untouched'),
    ],
  },
  {
    name: 'nodePortAddresses of prefix 0 are all but loopback; a family without any has all, too',
    service: { type: 'NodePort' },
    endpoints: ready('a'),
    setting: { facts: { nodePortAddresses: ['0.0.0.0/0'] } },
    packets: [
      ...each(['client', 'c'], everyNodePort, masqueraded('a')),
      ...each('loopback of the node', 'node port of loopback', 'untouched', notIptables),
    ],
  },
  {
    name: 'nodePortAddresses that the node does not have: no node ports',
    service: { type: 'NodePort' },
    endpoints: ready('a'),
    setting: { facts: { nodePortAddresses: ['203.0.115.0/24', '2001:db8:99::/64'] } },
    packets: [...each('client', everyNodePort, 'untouched'), ...each('client', 'cluster IP', masqueraded('a'))],
  },
]

const pinned = (at: Place, zones: string[], nodes?: string[]): EndpointRow => ({ at, zones, ...(nodes && { nodes }) })

const topologyRows: Row[] = [
  {
    name: 'hints for our zone are followed',
    service: { type: 'NodePort' },
    endpoints: [pinned('a', ['z2']), pinned('x', ['z1']), pinned('y', ['z2', 'z1'])],
    packets: each('client', ['cluster IP', 'node port'], masqueraded('x', 'y')),
    next: [
      {
        endpoints: [pinned('a', ['z2']), { ...pinned('x', ['z1']), ready: false }, pinned('y', ['z1'])],
        packets: each('client', 'cluster IP', masqueraded('y')),
      },
    ],
  },
  {
    name: 'one ready endpoint without a hint, or none for our zone: all are used',
    service: {},
    endpoints: [pinned('a', ['z1']), ...ready('x')],
    packets: each('client', 'cluster IP', masqueraded('a', 'x')),
    next: [
      {
        endpoints: [pinned('a', ['z2']), pinned('x', ['z3'])],
        packets: each('client', 'cluster IP', masqueraded('a', 'x')),
      },
      {
        endpoints: [pinned('a', ['z1']), { at: 'x', ready: false }],
        packets: each('client', 'cluster IP', masqueraded('a')),
      },
    ],
  },
  {
    name: 'a node without a zone uses all',
    service: {},
    endpoints: [pinned('a', ['z1']), pinned('x', [''])],
    setting: { zone: '' },
    packets: each('client', 'cluster IP', masqueraded('a', 'x')),
  },
  {
    name: 'hints for our node come before those for our zone, and fall back to them',
    service: {},
    endpoints: [pinned('a', ['z2'], ['here']), pinned('x', ['z1'], ['elsewhere'])],
    packets: each('client', 'cluster IP', masqueraded('a')),
    next: [
      {
        endpoints: [pinned('a', ['z2'], ['elsewhere']), pinned('x', ['z1'], ['elsewhere'])],
        packets: each('client', 'cluster IP', masqueraded('x')),
      },
      {
        endpoints: [pinned('a', ['z2'], ['here']), pinned('x', ['z1'])],
        packets: each('client', 'cluster IP', masqueraded('x')),
      },
    ],
  },
  {
    name: 'those that leave are used whatever their hints',
    service: {},
    endpoints: [pinned('a', ['z1']), pinned('x', ['z2'])].map((one) => ({ ...leaving(one.at)[0], ...one })),
    packets: each('client', 'cluster IP', masqueraded('a', 'x')),
  },
  {
    name: 'policy Local does not ask for hints',
    service: { type: 'NodePort', spec: { externalTrafficPolicy: 'Local' } },
    endpoints: [pinned('a', ['z2']), pinned('x', ['z1'])],
    packets: [
      ...each('client', 'node port', kept('a')),
      ...each('c', 'node port', kept('x'), notIpvs),
      ...each('c', 'node port', kept('a'), ipvs),
    ],
  },
]

/** Two kinds of packets are enough of so many. */
const crowd = (to: Target | readonly Target[], fate: Fate, more: Partial<PacketRow> = {}): PacketRow[] => [
  ...each('crowd', to, fate, { ...v4, protocol: 'TCP', isSticky: true, ...more }),
  ...each('crowd', to, fate, { ...v6, protocol: 'UDP', isSticky: true, ...more }),
]

const affinityRows: Row[] = [
  {
    name: 'clients stay with their endpoint, whichever of the addresses they use; in IPVS mode at one address',
    service: { ...loadBalancer, spec: affinity(10_800) },
    endpoints: ready('a', 'b'),
    packets: crowd('cluster IP', masqueraded('a', 'b')),
    next: [
      {
        packets: [
          ...crowd(outer, masqueraded('a', 'b'), { ...notIpvs, stays: true }),
          ...crowd(outer, masqueraded('a', 'b'), ipvs),
        ],
      },
    ],
  },
  {
    name: 'each port of a Service remembers clients of its own',
    service: { spec: affinity(10_800) },
    endpoints: ready('a', 'b'),
    packets: each('crowd', 'cluster IP', masqueraded('a', 'b'), { ...v4, protocol: 'TCP', isSticky: true }),
    next: [
      {
        packets: each('crowd', 'cluster IP', masqueraded('a', 'b'), {
          ...v4,
          protocol: 'UDP',
          isSticky: true,
          comparedTo: 'TCP',
          stays: false,
        }),
      },
    ],
    notIn: { ipvs: 'it remembers clients for each address of a port' },
  },
  {
    name: 'clients are not held by an endpoint that is gone, and others stay where they are',
    service: { type: 'NodePort', spec: { ...affinity(10_800), externalTrafficPolicy: 'Local' } },
    endpoints: ready('a', 'b'),
    packets: crowd('node port', kept('a', 'b')),
    next: [
      { endpoints: ready('b', 'c'), packets: crowd('node port', kept('b', 'c'), { stays: false }) },
      { endpoints: ready('b', 'c', 'x'), packets: crowd('node port', kept('b', 'c'), { stays: true }) },
    ],
  },
  {
    name: 'affinity ends with its timeout',
    service: { spec: affinity(1) },
    endpoints: ready('a', 'b'),
    packets: crowd('cluster IP', masqueraded('a', 'b'), { isSticky: 'once' }),
    // More than a second: some clients of many change their endpoint.
    next: [{ pauseMs: 1200, packets: crowd('cluster IP', masqueraded('a', 'b'), { isSticky: 'once', stays: false }) }],
    notIn: {
      ipvs: 'the kernel remembers a client until all its connections are forgotten, 10 s after TCP, 300 s after UDP',
    },
  },
]

const flow = { flow: 'kept' }
const flowRows: Row[] = [
  {
    name: 'UDP flows leave an endpoint that is gone, TCP connections are not touched',
    service: { type: 'LoadBalancer', hasExternalIP: true, vip: 'VIP' },
    endpoints: ready('a'),
    packets: ['cluster IP' as const, ...outer].flatMap((to) => each('client', to, masqueraded('a'), { flow: to })),
    next: [
      {
        endpoints: ready('b'),
        packets: ['cluster IP' as const, ...outer].flatMap((to) => [
          ...each('client', to, masqueraded('b'), { flow: to, protocol: 'UDP' }),
          ...each('client', to, masqueraded('a'), { flow: to, protocol: 'TCP', stays: true }),
        ]),
      },
    ],
  },
  {
    name: 'UDP flows to endpoints that stay, or leave and serve, stay; in IPVS mode only TCP to those that leave',
    service: {},
    endpoints: ready('a', 'b'),
    packets: each(['client', 'node'], 'cluster IP', masqueraded('a', 'b'), flow),
    next: [
      {
        endpoints: ready('a', 'b', 'c'),
        packets: each(['client', 'node'], 'cluster IP', masqueraded('a', 'b'), { ...flow, stays: true }),
      },
      {
        endpoints: [...leaving('a', 'b'), ...ready('c')],
        packets: [
          ...each(['client', 'node'], 'cluster IP', masqueraded('a', 'b'), { ...flow, ...notIpvs, stays: true }),
          // Of UDP they are deleted at once (8.6).
          ...each(['client', 'node'], 'cluster IP', masqueraded('c'), { ...flow, ...ipvs, protocol: 'UDP' }),
          ...each(['client', 'node'], 'cluster IP', masqueraded('a', 'b'), {
            ...flow,
            ...ipvs,
            protocol: 'TCP',
            stays: true,
          }),
        ],
      },
    ],
  },
  {
    name: 'a UDP flow from before the Service finds it',
    isThere: false,
    service: { protocols: ['UDP'] },
    endpoints: ready('a'),
    packets: each(['client', 'c'], 'cluster IP', 'untouched', flow),
    next: [
      {
        isThere: true,
        packets: [...each('client', 'cluster IP', masqueraded('a'), flow), ...each('c', 'cluster IP', kept('a'), flow)],
      },
    ],
  },
  {
    name: 'a UDP flow whose last endpoint is gone is refused, and served when one comes',
    service: { protocols: ['UDP'] },
    endpoints: ready('a'),
    packets: each('client', 'cluster IP', masqueraded('a'), flow),
    next: [
      { endpoints: [], packets: each('client', 'cluster IP', 'refused', flow) },
      { endpoints: ready('b'), packets: each('client', 'cluster IP', masqueraded('b'), flow) },
    ],
  },
]

/** The node forgets a connection, and does not take what comes then for the beginning of another. */
function unknownRow(name: string, facts: Partial<NodeFacts>, fate: Fate): Row {
  const toPod = (meant: Fate, more: Partial<PacketRow>): PacketRow[] =>
    each('client', 'an endpoint itself', meant, { flow: 'kept', protocol: 'TCP', ...more })
  return {
    name,
    service: {},
    endpoints: ready('a'),
    setting: { facts, isStrict: true },
    packets: toPod(kept('a'), {}),
    next: [
      {
        forgets: true,
        packets: [
          ...toPod(fate, { ...iptables, state: 'invalid' }),
          ...toPod(kept('a'), { ...nftables, state: 'invalid' }),
        ],
      },
    ],
    notIn: { ipvs: 'it has no such rule (8.10)' },
  }
}

/** With endpoints here, and one elsewhere that only pods may come to. */
const detectorRow = (name: string, localTraffic: LocalTraffic) => ({
  name: `local traffic by ${name}`,
  service: { type: 'NodePort', spec: { externalTrafficPolicy: 'Local', internalTrafficPolicy: 'Local' } } as const,
  endpoints: ready('a', 'x'),
  setting: { facts: { localTraffic } } as const,
})
const byInterface: PacketRow[] = [
  ...each('c', 'cluster IP', kept('a')),
  ...each(['x', 'client', 'node'], 'cluster IP', masqueraded('a')),
  ...each('c', 'node port', kept('a', 'x'), notIpvs),
  ...each(['client', 'other'], 'node port', kept('a')),
  ...each('node', 'node port', masqueraded('a', 'x'), notIpvs),
  ...each(['c', 'node'], 'node port', kept('a'), ipvs),
]
const settingRows: Row[] = [
  {
    ...detectorRow('the CIDR of all pods', { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16', 'fd44::/16'] }),
    packets: [
      ...each(['c', 'x'], 'cluster IP', kept('a')),
      ...each(['client', 'node', 'other'], 'cluster IP', masqueraded('a')),
      ...each('c', 'node port', kept('a', 'x'), notIpvs),
      ...each('c', 'node port', kept('a'), ipvs),
    ],
  },
  {
    ...detectorRow('the CIDR of the node', { mode: 'NodeCIDR', cidrs: ['fd44:1::/64', '10.244.1.0/24'] }),
    packets: byInterface,
  },
  { ...detectorRow('the bridge', { mode: 'BridgeInterface', interface: 'cni0' }), packets: byInterface },
  { ...detectorRow('the beginning of a name', { mode: 'InterfaceNamePrefix', prefix: 'cni' }), packets: byInterface },
  {
    ...detectorRow('nothing: nobody is local', { mode: 'ClusterCIDR', cidrs: [] }),
    packets: [
      ...each(['c', 'x', 'client', 'node'], 'cluster IP', kept('a')),
      ...each(['c', 'client'], 'node port', kept('a')),
      ...each('node', 'node port', masqueraded('a', 'x'), notIpvs),
      ...each('node', 'node port', kept('a'), ipvs),
    ],
  },
  {
    ...detectorRow('a CIDR of one family', { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16'] }),
    packets: [
      ...each('client', 'cluster IP', masqueraded('a'), v4),
      ...each('client', 'cluster IP', kept('a'), v6),
      ...each('c', 'node port', kept('a', 'x'), { ...notIpvs, ...v4 }),
      ...each('c', 'node port', kept('a'), { ...ipvs, ...v4 }),
      ...each('c', 'node port', kept('a'), v6),
    ],
  },
  {
    name: 'masqueradeAll: also what comes from pods',
    service: { type: 'NodePort', spec: { externalTrafficPolicy: 'Local' } },
    endpoints: ready('a', 'x'),
    setting: { facts: { masqueradeAll: true } },
    packets: [
      ...each(['c', 'client', 'node'], 'cluster IP', masqueraded('a', 'x')),
      ...each('client', 'node port', kept('a')),
    ],
  },
  {
    name: 'a packet that somebody else has marked with the masquerade bit is masqueraded',
    service: { type: 'NodePort', spec: { externalTrafficPolicy: 'Local' } },
    endpoints: ready('a'),
    packets: each('marked', 'node port', masqueraded('a')),
  },
  {
    name: 'the masquerade bit can be another one',
    service: { type: 'NodePort', spec: { externalTrafficPolicy: 'Local' } },
    endpoints: ready('a'),
    setting: { facts: { masqueradeBit: 15 } },
    packets: [
      ...each(['marked', 'client'], 'node port', kept('a')),
      ...each(['marked', 'client'], 'cluster IP', masqueraded('a')),
    ],
  },
  {
    name: 'nftables mode opens no policy of others: where that drops, so are packets to Services',
    service: { type: 'NodePort' },
    endpoints: ready('a'),
    setting: { policy: 'DROP' },
    packets: each(['client', 'c'], ['cluster IP', 'node port'], 'dropped', v4),
    notIn: { iptables: 'it lets them through', ipvs: 'it lets them through' },
  },
  {
    name: 'where policies drop, health checks are let through, and masqueraded and known traffic, which IPVS has in INPUT too',
    service: { type: 'LoadBalancer', spec: { externalTrafficPolicy: 'Local' } },
    endpoints: ready('a'),
    setting: { policy: 'DROP' },
    packets: [
      ...each('client', 'cluster IP', masqueraded('a'), { ...iptables, ...v4 }),
      ...each('client', 'cluster IP', 'dropped', { ...ipvs, ...v4 }),
      ...each('client', 'node port', 'dropped', v4),
      ...each('c', 'cluster IP', 'dropped', v4),
      { from: 'client', to: 'health check node port', fate: { status: 200 }, protocol: 'TCP', ...v4 },
    ],
    next: [
      {
        endpoints: [],
        packets: [
          { from: 'client', to: 'health check node port', fate: { status: 503 }, protocol: 'TCP', ...v4, ...iptables },
        ],
      },
    ],
    notIn: { nftables: 'policies are to be opened by who makes them (9.1)' },
  },
  unknownRow('packets of no known connection are dropped in iptables mode', {}, 'dropped'),
  {
    ...unknownRow('where connection tracking is liberal they are let through', { conntrackLiberal: true }, kept('a')),
    notIn: { nftables: 'it never drops them', ipvs: 'it has no such rule (8.10)' },
  },
  {
    name: 'health check node ports tell of ready endpoints here',
    service: { type: 'LoadBalancer', spec: { externalTrafficPolicy: 'Local' } },
    endpoints: ready('a', 'x'),
    packets: [{ from: 'client', to: 'health check node port', fate: { status: 200 }, protocol: 'TCP' }],
    next: [
      {
        endpoints: [...leaving('a'), ...ready('x')],
        packets: [{ from: 'client', to: 'health check node port', fate: { status: 503 }, protocol: 'TCP' }],
      },
    ],
  },
  {
    name: 'more than 1000 endpoints that all serve',
    service: ofHerd,
    endpoints: ready(...herd(largestHerd)),
    // Not among other rows.
    setting: { others: [0] },
    packets: toHerd(largestHerd, 200),
    notIn: { ipvs: 'it loads the same way in clusters of all sizes' },
  },
  {
    name: 'with 1000 endpoints and with 1001',
    service: { type: 'NodePort', spec: affinity(10_800) },
    endpoints: ready('a', 'b'),
    // Each is counted for TCP and for UDP.
    setting: { others: [996, 997] },
    packets: crowd(['cluster IP', 'node port'], masqueraded('a', 'b')),
    next: [{ packets: crowd(['cluster IP', 'node port'], masqueraded('a', 'b'), { stays: true }) }],
    notIn: {
      nftables: 'it writes the same rules for clusters of all sizes',
      ipvs: 'it loads the same way in clusters of all sizes',
    },
  },
]

export const rows: readonly Row[] = [
  ...clusterRows,
  ...policyRows,
  ...addressRows,
  ...nodePortRows,
  ...topologyRows,
  ...affinityRows,
  ...flowRows,
  ...settingRows,
]
