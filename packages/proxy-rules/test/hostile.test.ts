// Malformed objects are left out and named; nothing of them gets into a rule, and their neighbours do not notice.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import { pinNamespaces, unpinNamespace } from '@nodelet/linux'
import {
  compileIptables,
  compileIpvs,
  compileNftables,
  dummyAddresses,
  ipsetText,
  iptablesText,
  ipvsadmText,
  nftablesText,
  serviceGraph,
} from '@nodelet/proxy-rules'
import type { IPFamily, NodeFacts, ServiceGraph } from '@nodelet/proxy-rules'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { runProgram } from '../src/apply/program.ts'
import { isObject } from '../src/graph/problem.ts'
import { keptService, keptSlice } from '../src/kept-objects.ts'

const facts: NodeFacts = {
  nodeIPs: { IPv4: '192.0.2.1', IPv6: '2001:db8::1' },
  interfaces: { eth0: ['192.0.2.1/24', '2001:db8::1/64'] },
  nodePortAddresses: [],
  masqueradeAll: false,
  masqueradeBit: 14,
  localhostNodePorts: true,
  localTraffic: { mode: 'BridgeInterface', interface: 'bridge' },
  randomFully: true,
  nfacct: false,
  conntrackLiberal: false,
}

const service = (name = 'web', index = 10): Service => ({
  metadata: { namespace: 'shop', name, labels: { app: 'web' } },
  spec: {
    type: 'LoadBalancer',
    clusterIP: `10.96.0.${index}`,
    clusterIPs: [`10.96.0.${index}`, `fd96::${index}`],
    ipFamilies: ['IPv4', 'IPv6'],
    ports: [{ name: 'http', port: 80, protocol: 'TCP', nodePort: 30_000 + index }],
    internalTrafficPolicy: 'Cluster',
    externalTrafficPolicy: 'Local',
    healthCheckNodePort: 31_000 + index,
    externalIPs: [`203.0.113.${index}`],
    loadBalancerSourceRanges: ['198.51.100.0/24'],
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
  },
  status: { loadBalancer: { ingress: [{ ip: `203.0.113.${index + 100}`, ipMode: 'VIP' }] } },
})

const slice = (name = 'web', index = 10): EndpointSlice => ({
  metadata: { namespace: 'shop', name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
  addressType: 'IPv4',
  endpoints: [
    {
      addresses: [`10.244.1.${index}`],
      nodeName: 'here',
      conditions: { ready: true, serving: true, terminating: false },
      hints: { forZones: [{ name: 'z1' }] },
    },
  ],
  ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
})

const graphOf = (services: readonly unknown[], slices: readonly unknown[], family: IPFamily = 'IPv4'): ServiceGraph =>
  serviceGraph({
    family,
    nodeName: 'here',
    zone: 'z1',
    services: services as Service[],
    endpointSlices: slices as EndpointSlice[],
  })

type Path = readonly (string | number)[]

/** A copy of an object with another value at a place. */
function spoiled(object: unknown, [first, ...rest]: Path, value: unknown): unknown {
  if (first === undefined) return value
  const copy = Array.isArray(object) ? [...(object as unknown[])] : { ...(object as object) }
  const fields = copy as Record<string | number, unknown>
  fields[first] = spoiled(fields[first], rest, value)
  return copy
}

test.each<[path: string, value: unknown, field: string, told?: string]>([
  ['spec', 'none', 'spec'],
  ['spec', [], 'spec'],
  ['metadata', null, 'metadata', 'must be DNS labels'],
  ['metadata.name', { toString: 1 }, 'metadata', 'must be DNS labels'],
  ['metadata.name', 'a\n-A INPUT -j ACCEPT', 'metadata', 'must be DNS labels'],
  ['metadata.name', '__proto__', 'metadata', 'must be DNS labels'],
  ['spec.type', 'Magic', 'spec.type'],
  ['spec.internalTrafficPolicy', 5, 'spec.internalTrafficPolicy'],
  ['spec.ipFamilies.1', 'IPv5', 'spec.ipFamilies', '"IPv5" is none of IPv4, IPv6'],
  ['spec.clusterIPs', 'x', 'spec.clusterIPs'],
  ['spec.clusterIPs', ['fd96::1', '10.96.0.1'], 'spec.clusterIPs', '"fd96::1"'],
  ['spec.clusterIPs.0', false, 'spec.clusterIPs'],
  ['spec.clusterIPs.0', '10.0.0.1%eth0', 'spec.clusterIPs'],
  ['spec.ports', { port: 80 }, 'spec.ports'],
  ['spec.ports.0', null, 'spec.ports[0]', 'port nothing'],
  ['spec.ports.0.port', Number.NaN, 'spec.ports[0]'],
  ['spec.ports.0.port', -1, 'spec.ports[0]'],
  ['spec.ports.0.port', '80', 'spec.ports[0]'],
  ['spec.ports.0.name', 'a"b', 'spec.ports[0]'],
  ['spec.ports.0.nodePort', '', 'spec.ports[0]'],
  ['spec.ports.0.nodePort', false, 'spec.ports[0]'],
  ['spec.ports.0.nodePort', Number.NaN, 'spec.ports[0]'],
  ['spec.externalIPs', 'x', 'spec.externalIPs'],
  ['spec.externalIPs.0', '256.1.1.1', 'spec.externalIPs'],
  ['spec.loadBalancerSourceRanges', 7, 'spec.loadBalancerSourceRanges'],
  ['spec.loadBalancerSourceRanges.0', '10.0.0.0/33', 'spec.loadBalancerSourceRanges'],
  ['spec.sessionAffinityConfig.clientIP.timeoutSeconds', 1e9, 'spec.sessionAffinityConfig'],
  ['spec.sessionAffinityConfig', 'x', 'spec.sessionAffinityConfig', '"x" is no object'],
  ['spec.sessionAffinityConfig.clientIP', [], 'spec.sessionAffinityConfig.clientIP', '[] is no object'],
  ['status', 'x', 'status', '"x" is no object'],
  ['status.loadBalancer', 7, 'status.loadBalancer', '7 is no object'],
  ['status.loadBalancer.ingress', 'x', 'status.loadBalancer.ingress'],
  ['status.loadBalancer.ingress.0', 'x', 'status.loadBalancer.ingress'],
  ['status.loadBalancer.ingress.0.ipMode', 'Magic', 'status.loadBalancer.ingress', '"Magic"'],
])('a Service whose %s is %j is told of in %s', (path, value, field, told = '') => {
  const bad = spoiled(service(), path.split('.'), value)
  const named = graphOf([bad], []).problems.filter((problem) => problem.field === field)
  expect(named).toEqual([
    { object: expect.stringMatching(/^Service /) as string, field, message: expect.stringContaining(told) as string },
  ])
})

test.each<[path: string, value: unknown, field: string, told: string]>([
  ['metadata.labels', 'text', 'metadata.labels["kubernetes.io/service-name"]', 'belongs to no Service'],
  ['addressType', 'IPv5', 'addressType', '"IPv5" is none of'],
  ['endpoints', 'x', 'endpoints', '"x" is no list'],
  ['endpoints.0', null, 'endpoints[0]', 'null is no endpoint'],
  ['endpoints.0.addresses', '10.0.0.1', 'endpoints[0]', 'addresses "10.0.0.1" is no list'],
  ['endpoints.0.addresses.0', '127.0.0.1', 'endpoints[0]', '127.0.0.1 is loopback'],
  ['endpoints.0.addresses.0', 'fe80::1%eth0', 'endpoints[0]', 'is no IPv4 address'],
  ['endpoints.0.nodeName', 5, 'endpoints[0]', 'nodeName 5 is no string'],
  ['endpoints.0.conditions', 'x', 'endpoints[0]', 'conditions "x" is no object'],
  ['endpoints.0.conditions.ready', 'false', 'endpoints[0]', 'conditions.ready "false" is no boolean'],
  ['endpoints.0.hints.forZones', {}, 'endpoints[0]', 'hints.forZones {} is no list'],
  ['endpoints.0.hints.forZones.0', null, 'endpoints[0]', 'hints null has no name'],
  ['endpoints.0.hints.forZones.0', undefined, 'endpoints[0]', 'hints nothing has no name'],
  ['ports', { port: 80 }, 'ports', 'is no list'],
  ['ports.0', null, 'ports[0]', 'name nothing'],
  ['ports.0.port', 65_536, 'ports[0]', 'port 65536'],
])('a slice whose %s is %j is told of in %s', (path, value, field, told) => {
  const { nodes, problems } = graphOf([service()], [spoiled(slice(), path.split('.'), value)])
  expect(problems).toEqual([
    { object: 'EndpointSlice shop/web-1', field, message: expect.stringContaining(told) as string },
  ])
  expect(nodes.flatMap(({ endpoints }) => endpoints)).toEqual([])
})

test('addresses are read leniently: zeros at the front do not make them octal, and are not printed (2.4)', () => {
  const graph = (family: IPFamily, [cluster = '', external = '', endpoint = '']: readonly string[]) =>
    serviceGraph({
      family,
      nodeName: 'here',
      zone: '',
      services: [
        {
          metadata: { namespace: 'shop', name: 'web' },
          spec: { clusterIP: cluster, externalIPs: [external], ports: [{ port: 80 }] },
        },
      ],
      endpointSlices: [
        {
          metadata: { namespace: 'shop', name: 'web', labels: { 'kubernetes.io/service-name': 'web' } },
          addressType: family,
          endpoints: [{ addresses: [endpoint] }],
          ports: [{ name: '', port: 8080 }],
        },
      ],
    })
  const [four, six] = [
    graph('IPv4', ['010.096.000.010', '203.000.113.009', '10.0244.1.02']),
    graph('IPv6', ['FD96:0:0::0A', '2001:0DB8::1', 'fd44:0:0:0:0:0:0:2']),
  ].map(({ nodes }) => nodes[0])
  expect([four?.port.clusterIP, four?.port.externalIPs, four?.endpoints.map(({ text }) => text)]).toEqual([
    '10.96.0.10',
    ['203.0.113.9'],
    ['10.244.1.2:8080'],
  ])
  expect([six?.port.clusterIP, six?.port.externalIPs, six?.endpoints.map(({ text }) => text)]).toEqual([
    'fd96::a',
    ['2001:db8::1'],
    ['[fd44::2]:8080'],
  ])
})

test('names that are none are not taken for others', () => {
  const nameless = { metadata: { namespace: 'shop' }, spec: service().spec }
  const listed = { ...service(), metadata: { namespace: 'shop', name: ['web'] } }
  const { nodes, problems } = graphOf([service('undefined', 11), service(), nameless, listed, null, 5], [null, slice()])
  expect(nodes.map(({ port }) => port.name)).toEqual(['shop/undefined:http', 'shop/web:http'])
  expect(problems.map(({ object }) => object)).toEqual(['Service shop/["web"]', 'Service shop/nothing'])
})

const word = '[\\w.:/+-]+'
const iptablesLine = new RegExp(
  `^(\\*(filter|nat)|COMMIT|:KUBE-[A-Z0-9-]+ - \\[0:0\\]|-A KUBE-[A-Z0-9-]+( (!|\\[?${word}\\]?(,${word})*|\\[[0-9a-f:]+\\]:\\d+|"[\\w .:>\\[\\];/-]+"))+)$`,
)
const name = '[\\w./-]+'
const nftToken = `(${name}|[\\w.:/*-]+|\\[[0-9a-f:]+\\]:\\d+|@${name}|!=|[{},;:.]|"[\\w .,@:>/-]*")`
const nftLine = new RegExp(`^(add|flush) (table|chain|rule|set|map|element) ip6? kube-proxy( ${nftToken}|,${word})*$`)

const address = '(\\d+(\\.\\d+){3}|[0-9a-f:]*:[0-9a-f:]+)'
const ipsetLine = new RegExp(
  `^(create KUBE-[A-Z0-9-]{1,26} [a-z:,]+ (family inet6? hashsize 1024 maxelem 65536|range 0-65535)|add KUBE-[A-Z0-9-]{1,26} (${address}|\\d{1,5}|${address},(tcp|udp|sctp):\\d{1,5}(,${address}(/\\d{1,3})?)?))$`,
)
const server = `(-t|-u|--sctp-service) \\[?${address}\\]?:\\d{1,5}`
const ipvsadmLine = new RegExp(`^(-A ${server} -s rr( -p \\d+)?|-a ${server} -r \\[?${address}\\]?:\\d{1,5} -m -w 1)$`)
const prefixed = new RegExp(`^${address}/(32|128)$`)
const glueLine = new RegExp(iptablesLine.source.replace('[\\w .:>', "[\\w .:>=,+'"))

const linesOf = (text: string): string[] => text.split('\n').slice(0, -1)

interface IpvsTexts {
  ipset: string
  glue: string
}

function ipvsTexts(graph: ServiceGraph): IpvsTexts {
  const program = compileIpvs(graph, facts)
  const ipset = ipsetText(program)
  const glue = iptablesText(program.glue)
  for (const line of linesOf(ipset)) expect(line).toMatch(ipsetLine)
  for (const line of linesOf(ipvsadmText(program))) expect(line).toMatch(ipvsadmLine)
  for (const one of dummyAddresses(program)) expect(one).toMatch(prefixed)
  for (const line of linesOf(glue)) expect(line).toMatch(glueLine)
  return { ipset, glue }
}

function texts(graph: ServiceGraph): { iptables: string; nft: string[]; ipvs: IpvsTexts } {
  const iptables = iptablesText(compileIptables(graph, facts))
  const nft = (['compat', 'fast'] as const).map((layout) => nftablesText(compileNftables(graph, facts, { layout })))
  for (const line of iptables.trimEnd().split('\n')) expect(line).toMatch(iptablesLine)
  for (const line of nft.flatMap((text) => text.trimEnd().split('\n'))) expect(line).toMatch(nftLine)
  return { iptables, nft, ipvs: ipvsTexts(graph) }
}

const junk = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    undefined,
    true,
    false,
    0,
    -1,
    1.5,
    Number.NaN,
    Infinity,
    65_536,
    2 ** 53,
    1e308,
    '',
    ' ',
    'a b',
    '"',
    "'",
    '\\',
    '`',
    '\n',
    '\u0000',
    '\ud800',
    '\u2028',
    '; drop',
    '"; flush ruleset; "',
    'a\n-A INPUT -j ACCEPT',
    '$(reboot)',
    '__proto__',
    'constructor',
    'toString',
    'x'.repeat(5000),
    '::1',
    'fe80::1%eth0',
    '::ffff:10.0.0.1',
    '010.001.00.09',
    '10.0.0.0.1',
    '0x7f.1',
    '10.0.0.1/24',
    '0.0.0.0',
    [],
    {},
    [[]],
    [null],
    { toString: 1 },
    { toJSON: 1 },
    10n,
    JSON.parse('{"__proto__":{"name":"x"}}'),
  ),
  fc.jsonValue(),
)

/** The places of all values within an object. */
function placesIn(value: unknown, at: Path = []): Path[] {
  const inner = typeof value === 'object' && value !== null ? Object.entries(value) : []
  return [at, ...inner.flatMap(([key, one]) => placesIn(one, [...at, key]))]
}

const spoil = <T>(objects: T[]): fc.Arbitrary<unknown[]> =>
  fc.tuple(
    ...objects.map((one) =>
      fc.tuple(fc.constantFrom(...placesIn(one)), junk).map(([path, value]) => spoiled(one, path, value)),
    ),
  )

const numbers = [20, 21, 22]
const badObjects = fc.record({
  services: spoil(numbers.map((n) => service(`s${n}`, n))),
  slices: spoil(numbers.map((n) => slice(`s${n}`, n))),
})

const numRuns = Number(process.env['NODELET_CASES'] ?? 200)
const timeout = 60_000 + numRuns * 20

test('what is kept in memory of objects says the same as all of them, however spoiled', { timeout }, () => {
  const kept = <T extends object>(objects: unknown[], keep: (object: T) => T): unknown[] =>
    objects.map((one) => (isObject(one) ? keep(one as T) : one))
  fc.assert(
    fc.property(badObjects, ({ services, slices }) => {
      for (const family of ['IPv4', 'IPv6'] as const) {
        const graph = graphOf([...services, service()], [...slices, slice()], family)
        const same = graphOf(kept([...services, service()], keptService), kept([...slices, slice()], keptSlice), family)
        expect(same.nodes).toEqual(graph.nodes)
        expect(same.problems).toEqual(graph.problems)
      }
    }),
    { numRuns },
  )
})

test('of an object nothing is kept that no proxy reads', () => {
  const targetRef = { kind: 'Pod', namespace: 'shop', name: 'web-1', uid: 'u' }
  const real = slice()
  const dressed: EndpointSlice = {
    ...real,
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      ...real.metadata,
      uid: 'u1',
      resourceVersion: '7',
      labels: { ...real.metadata?.labels, 'app.kubernetes.io/name': 'web' },
      annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': '2026-01-01T00:00:00Z', more: 'x' },
      managedFields: [{ manager: 'kube-controller-manager', operation: 'Update', apiVersion: 'v1' }],
    },
    endpoints: real.endpoints.map((endpoint) => ({ ...endpoint, zone: 'z1', hostname: 'web-1', targetRef })),
  }
  const annotations = { 'endpoints.kubernetes.io/last-change-trigger-time': '2026-01-01T00:00:00Z' }
  const kept = keptSlice(dressed)
  expect(kept).toEqual({ ...real, metadata: { ...real.metadata, uid: 'u1', resourceVersion: '7', annotations } })
  expect(keptSlice(slice('other')).endpoints[0]?.conditions).toBe(kept.endpoints[0]?.conditions)
  const { metadata } = keptService({ ...service(), metadata: { ...service().metadata, ...dressed.metadata } })
  expect(Object.keys(metadata ?? {})).toEqual(['name', 'namespace', 'uid', 'resourceVersion', 'labels', 'annotations'])
})

test('spoiled objects break nothing, write nothing strange and leave their neighbours alone', { timeout }, () => {
  const alone = graphOf([service()], [slice()]).nodes
  fc.assert(
    fc.property(badObjects, ({ services, slices }) => {
      for (const family of ['IPv4', 'IPv6'] as const) {
        const graph = graphOf([...services, service()], [...slices, slice()], family)
        texts(graph)
        if (family === 'IPv4') expect(graph.nodes.find(({ key }) => key === 'shop/web/http/TCP')).toEqual(alone[0])
      }
    }),
    { numRuns },
  )
})

test('iptables, nft and ipset take what is left of them, of the longest names, and a bridge that is named like a keyword', async () => {
  const long = 'x'.repeat(63)
  const longest = spoiled(
    spoiled(service(long, 200), ['metadata', 'namespace'], long),
    ['spec', 'ports', 0, 'name'],
    long,
  )
  const overSCTP = spoiled(service('sctp', 201), ['spec', 'ports', 0, 'protocol'], 'SCTP')
  const some = fc.sample(badObjects, { numRuns: 4, seed: 7 })
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-hostile-'))
  const netns = join(folder, 'net')
  pinNamespaces({ paths: { net: netns } })
  try {
    for (const { services, slices } of some) {
      const { iptables, nft, ipvs } = texts(graphOf([...services, service(), longest, overSCTP], [...slices, slice()]))
      expect(nft[0]).toContain('iifname != "bridge"')
      expect(ipvs.glue).toContain(`"Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'"`)
      const loads = [
        { program: 'iptables-restore', args: ['--test', '--noflush'], input: iptables },
        { program: 'ipset', args: ['restore'], input: ipvs.ipset },
        // The match ipvs needs IPVS in the kernel.
        {
          program: 'iptables-restore',
          args: ['--test', '--noflush'],
          input: ipvs.glue.replace(/^.* -m ipvs .*\n/gm, ''),
        },
        { program: 'ipset', args: ['destroy'], input: '' },
        ...nft.map((input) => ({ program: 'nft', args: ['-c', '-f', '-'], input })),
      ]
      for (const { program, args, input } of loads) {
        const { code, stderr } = await runProgram(program, args, { netns, input })
        expect(code, stderr.slice(0, 500)).toBe(0)
      }
    }
  } finally {
    unpinNamespace(netns)
    rmSync(folder, { recursive: true })
  }
})
