// IPVS programs: the worked examples to the letter, what changes carry, and what configurations do.
import {
  compileIpvs,
  createIpvsLedger,
  dummyAddresses,
  ipsetText,
  ipvsadmText,
  packetMeaning,
  traceService,
} from '@nodelet/proxy-rules'
import type {
  IPFamily,
  IpvsDifference,
  IpvsOptions,
  IpvsProgram,
  NodeFacts,
  Packet,
  ServiceGraph,
  SetEntry,
  VirtualServer,
} from '@nodelet/proxy-rules'
import fc from 'fast-check'
import type { Service } from 'kubernetes-types/core/v1.d.ts'
import { describe, expect, it, test } from 'vitest'
import { entryText } from '../src/ipvs/sets.ts'
import { serviceGraph } from '../src/graph/service-graph.ts'
import { afterStep, exampleGraph, exampleNames, golden, nodeFacts, readExample, type Item } from './example.ts'
import { normaliseIpvs } from './normalise.ts'
import { clusters } from './trace/cluster.ts'

const suffix = { IPv4: 'ipvs', IPv6: 'ipvs6' } as const
const cases = exampleNames().flatMap((name) =>
  readExample(name).facts.ipFamilies.map((family) => ({ name, family, file: `${name}.${suffix[family]}` })),
)

/** What a kernel has after differences. */
interface Held {
  servers: Map<string, VirtualServer>
  addresses: Set<string>
  entries: Map<string, SetEntry>
  glue: unknown
}

const emptyHost = (): Held => ({ servers: new Map(), addresses: new Set(), entries: new Map(), glue: undefined })

/** As strict as a kernel: nothing is added twice or taken away where it is not. */
function apply(held: Held, { virtualServers, addresses, entries, glue }: IpvsDifference): void {
  const key = ({ protocol, address, port }: VirtualServer): string => `${protocol} ${address} ${port}`
  const id = (entry: SetEntry): string => `${entry.set} ${entryText(entry)}`
  for (const { before, after } of virtualServers) {
    expect(before && held.servers.get(key(before))).toEqual(before)
    if (after) {
      expect(held.servers.has(key(after))).toBe(before !== undefined)
      held.servers.set(key(after), after)
    } else if (before) held.servers.delete(key(before))
  }
  for (const address of addresses.removed) expect(held.addresses.delete(address)).toBe(true)
  for (const address of addresses.added) expect(held.addresses.has(address)).toBe(false)
  for (const address of addresses.added) held.addresses.add(address)
  for (const entry of entries.removed) expect(held.entries.delete(id(entry))).toBe(true)
  for (const entry of entries.added) expect(held.entries.has(id(entry))).toBe(false)
  for (const entry of entries.added) held.entries.set(id(entry), entry)
  if (glue) held.glue = glue
}

function wholeOf(program: IpvsProgram): Held {
  const held = emptyHost()
  apply(held, createIpvsLedger().update(program))
  return held
}

const isEmpty = ({ virtualServers, addresses, entries, glue }: IpvsDifference): boolean =>
  [virtualServers, addresses.added, addresses.removed, entries.added, entries.removed].every(
    (list) => list.length === 0,
  ) && glue === undefined

describe('worked examples', () => {
  it.each(cases)('$file', ({ name, family, file }) => {
    const { facts, list } = readExample(name)
    const program = compileIpvs(exampleGraph(facts, list.items, family), nodeFacts(facts))
    expect(normaliseIpvs(program)).toBe(golden(file))
  })

  it('16: three changes, and what each carries', () => {
    const { facts, list, steps = [] } = readExample('16-partial-sync')
    let items = list.items
    let graph = exampleGraph(facts, items, 'IPv4')
    let program = compileIpvs(graph, nodeFacts(facts))
    const ledger = createIpvsLedger()
    const held = emptyHost()
    apply(held, ledger.update(program))
    expect(steps).toHaveLength(3)
    for (const [index, step] of steps.entries()) {
      items = afterStep(items, step)
      graph = exampleGraph(facts, items, 'IPv4', graph)
      program = compileIpvs(graph, nodeFacts(facts), { previous: program })
      expect(normaliseIpvs(program), step.note).toBe(golden(`16-partial-sync.step${index + 1}.ipvs`))
      apply(held, ledger.update(program))
      expect(held).toEqual(wholeOf(program))
    }
  })
})

/** Clusters one after the other, as changes of one; all Services claim one address. */
const histories = fc.array(clusters, { minLength: 2, maxLength: 4 }).map((history) =>
  history.map(({ services, ...rest }) => ({
    ...rest,
    services: services.map((service) => ({
      ...service,
      spec: { ...service.spec, externalIPs: [...(service.spec?.externalIPs ?? []), '203.0.113.99'] },
    })),
  })),
)

test('differences bring from any program to any other, and a program made from an earlier one is the same', () => {
  const input = fc.tuple(histories, fc.constantFrom('IPv4', 'IPv6'), fc.boolean())
  fc.assert(
    fc.property(input, ([history, family, isSameNode]) => {
      const ledger = createIpvsLedger()
      const held = emptyHost()
      let graph = serviceGraph({ family, nodeName: 'here', zone: 'z1', services: [], endpointSlices: [] })
      let previous: IpvsProgram | undefined
      for (const { services, endpointSlices, facts: own } of history) {
        const facts = isSameNode ? (history[0]?.facts ?? own) : own
        graph = serviceGraph({ family, nodeName: 'here', zone: 'z1', services, endpointSlices }, graph)
        const program = compileIpvs(graph, facts, { previous })
        const { version: _, change: __, ...rest } = program
        expect(compileIpvs(graph, facts)).toMatchObject(rest)
        apply(held, ledger.update(program))
        expect(held).toEqual(wholeOf(program))
        expect(isEmpty(ledger.update(compileIpvs(graph, facts, { previous: program })))).toBe(true)
        previous = program
      }
    }),
  )
})

const { facts: exampleFacts, list } = readExample('05-loadbalancer-source-ranges')
const exampleNode = nodeFacts(exampleFacts)
const lbGraph = exampleGraph(exampleFacts, list.items, 'IPv4')
const serversOf = (facts: Partial<NodeFacts>, options: IpvsOptions = {}): VirtualServer[] => [
  ...wholeOf(compileIpvs(lbGraph, { ...exampleNode, ...facts }, options)).servers.values(),
]

/** The Service `out` alone, with another load balancer address. */
function graphWithVIP(ip: string, family: IPFamily = 'IPv4'): ServiceGraph {
  const service = list.items.find(({ metadata }) => metadata?.name === 'out') as Service & Item
  const { spec } = service
  const ipFamilies = ['IPv4', 'IPv6']
  const clusterIPs = [spec?.clusterIP ?? '', 'fd00:172:30::48']
  const status = { loadBalancer: { ingress: [{ ip }] } }
  return exampleGraph(exampleFacts, [{ ...service, spec: { ...spec, ipFamilies, clusterIPs }, status }], family)
}

describe('what configurations do', () => {
  it('all virtual servers have the scheduler, and those of mh hash source ports', () => {
    expect(new Set(serversOf({}).map(({ scheduler, flags }) => `${scheduler} ${flags}`))).toEqual(new Set(['rr 0']))
    expect(new Set(serversOf({}, { scheduler: 'mh' }).map((one) => `${one.scheduler} ${one.flags}`))).toEqual(
      new Set(['mh 16']),
    )
    expect(serversOf({}, { scheduler: '' })[0]?.scheduler).toBe('rr')
    expect(compileIpvs(lbGraph, exampleNode, { excludeCIDRs: ['10.96.0.7/12', 'fd00::/8'] }).excluded).toMatchObject([
      { text: '10.96.0.0/12' },
    ])
  })

  it.each([
    [{ scheduler: 'rr\n-C' }, 'scheduler: "rr?-C"'],
    [{ scheduler: 'x'.repeat(16) }, 'scheduler: "xxxxxxxxxxxxxxxx"'],
    [{ scheduler: '-s' }, 'scheduler: "-s"'],
    [{ excludeCIDRs: ['10.0.0.0'] }, 'excludeCIDRs: "10.0.0.0" is no CIDR'],
  ])('%j is refused', (options, message) => {
    expect(() => compileIpvs(lbGraph, exampleNode, options)).toThrow(message.replace('?', '\\n'))
  })

  it.each<[what: string, facts: Partial<NodeFacts>, addresses: string[]]>([
    ['all', {}, ['192.168.0.2', '192.168.1.2']],
    ['the primary one', { nodePortAddresses: ['primary'] }, ['192.168.0.2']],
    ['those of a range', { nodePortAddresses: ['192.168.1.0/24', '127.0.0.0/8'] }, ['192.168.1.2']],
    ['none', { nodePortAddresses: ['198.18.0.0/15'] }, []],
    [
      'all but those of kube-ipvs0, loopback and what occurs twice',
      {
        interfaces: {
          lo: ['127.0.0.1/8'],
          eth0: ['192.168.0.2/24'],
          eth1: ['192.168.0.2/32'],
          'kube-ipvs0': ['172.30.0.47/32'],
        },
      },
      ['192.168.0.2'],
    ],
  ])('node ports are on these addresses: %s', (_, facts, expected) => {
    const own = serversOf(facts).filter(({ port }) => port === 30_047)
    expect(own.map(({ address }) => address)).toEqual(expected)
    const { entries } = wholeOf(compileIpvs(lbGraph, { ...exampleNode, ...facts }))
    expect(entries.has('KUBE-NODE-PORT-TCP 30047')).toBe(expected.length > 0)
    expect(entries.has('KUBE-HEALTH-CHECK-NODE-PORT 31047')).toBe(true)
  })

  it('an address that another device has is not put on the dummy device', () => {
    const interfaces = { eth0: ['192.168.0.2/24', '203.0.113.47/32'], 'kube-ipvs0': ['203.0.113.48/32'] }
    const { addresses, servers, entries } = wholeOf(compileIpvs(lbGraph, { ...exampleNode, interfaces }))
    expect([...addresses]).toEqual(['172.30.0.47', '172.30.0.48', '203.0.113.48'])
    expect(servers.has('TCP 203.0.113.47 443')).toBe(true)
    expect(entries.has('KUBE-IPVS-IPS 203.0.113.47')).toBe(false)
    const linkLocal = compileIpvs(graphWithVIP('fe80::2', 'IPv6'), exampleNode)
    expect([...wholeOf(linkLocal).addresses]).toEqual(['fd00:172:30::48'])
  })

  it.each([
    ['IPv4', '172.30.0.48', ['127.0.0.1', '127.1.2.3', '0.0.0.0', '224.0.0.251', '255.255.255.255']],
    ['IPv6', 'fd00:172:30::48', ['::1', '::', 'ff02::fb']],
  ] as const)(
    '%s addresses of load balancers that no device can have are not put on the dummy device',
    (family, own, vips) => {
      for (const vip of vips) {
        const { addresses, entries } = wholeOf(compileIpvs(graphWithVIP(vip, family), exampleNode))
        expect([...addresses]).toEqual([own])
        expect([...entries.values()].filter(({ set }) => set.endsWith('IPVS-IPS')).map(entryText)).toEqual([own])
      }
    },
  )

  it('a load balancer address of loopback leaves alone what else is there', () => {
    const graph = graphWithVIP('127.0.0.1')
    const packet: Packet = { protocol: 'TCP', source: '127.0.0.1', destination: '127.0.0.1', destinationPort: 10_248 }
    const outcomes = [{ verdict: 'accept', translation: undefined, masquerade: false }]
    expect(traceService(compileIpvs(graph, exampleNode), packet, exampleNode)).toMatchObject(outcomes)
    expect(packetMeaning(graph, exampleNode, packet, 'ipvs')?.outcomes).toEqual(outcomes)
  })

  it('without a way to tell pods only what the node sends from a cluster IP is masqueraded', () => {
    const localTraffic = { mode: 'ClusterCIDR', cidrs: [] } as const
    const { tables } = compileIpvs(lbGraph, { ...exampleNode, localTraffic }).glue
    const rules = tables[0]?.rules.map(({ args }) => args.join(' '))
    expect(rules).toContainEqual(expect.stringMatching(/--match-set KUBE-CLUSTER-IP src,dst -j KUBE-MARK-MASQ$/))
  })
})

describe('the texts of the tools', () => {
  const { facts, list: all } = readExample('12-udp-sctp-same-port')
  const graph = exampleGraph(facts, all.items, 'IPv4')

  it('ipset creates sets and fills them', () => {
    const lines = ipsetText(compileIpvs(graph, nodeFacts(facts))).split('\n')
    expect(lines.filter((line) => line.startsWith('create'))).toHaveLength(17)
    expect(lines).toContain('create KUBE-LOOP-BACK hash:ip,port,ip family inet hashsize 1024 maxelem 65536')
    expect(lines).toContain('create KUBE-NODE-PORT-TCP bitmap:port range 0-65535')
    expect(lines).toContain('add KUBE-LOOP-BACK 10.244.1.9,udp:5353,10.244.1.9')
    expect(lines).toContain('add KUBE-NODE-PORT-SCTP-HASH 192.168.1.2,sctp:30064')
  })

  it('ipvsadm adds servers', () => {
    const lines = ipvsadmText(compileIpvs(graph, nodeFacts(facts))).split('\n')
    expect(lines).toContain('-A -u 172.30.0.10:53 -s rr')
    expect(lines).toContain('-a -u 172.30.0.10:53 -r 10.244.1.9:5353 -m -w 1')
    expect(lines).toContain('-A --sctp-service 172.30.0.64:3868 -s rr')
    const sticky = readExample('06-session-affinity')
    const program = compileIpvs(exampleGraph(sticky.facts, sticky.list.items, 'IPv4'), exampleNode, { scheduler: 'mh' })
    expect(ipvsadmText(program)).toContain('-A -t 172.30.0.49:80 -s mh -p 10800 -b mh-port\n')
  })

  it('addresses have the prefix of one address', () => {
    expect(dummyAddresses(compileIpvs(graph, nodeFacts(facts)))).toEqual(['172.30.0.10/32', '172.30.0.64/32'])
    const dual = readExample('11-dual-stack')
    const six = compileIpvs(exampleGraph(dual.facts, dual.list.items, 'IPv6'), nodeFacts(dual.facts))
    expect(dummyAddresses(six)).toEqual(['fd00:172:30::63/128'])
    expect(ipvsadmText(six)).toContain('-a -t [fd00:172:30::63]:80 -r [fd00:10:1::9]:8080 -m -w 1\n')
    expect(ipsetText(six)).toContain(
      'create KUBE-6-NODE-PORT-LOCAL-SCTP-HAS hash:ip,port family inet6 hashsize 1024 maxelem 65536\n',
    )
  })
})
