// What becomes of a table by changes is what a whole load makes of it; and what names and configurations can do to the text.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Service, ServiceSpec } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import { pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { compileNftables, nftablesChangeText, nftablesText, serviceGraph } from '@nodelet/proxy-rules'
import type { IPFamily, NftablesLayout, NftablesProgram, NodeFacts, ServiceGraph } from '@nodelet/proxy-rules'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { runProgram } from '../src/apply/program.ts'
import { normaliseNft } from './normalise.ts'

let folder: string
/** One table is kept by changes, the other made anew each time. */
let netns: string
let other: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-nft-'))
  netns = join(folder, 'net')
  other = join(folder, 'other')
  for (const net of [netns, other]) pinNamespaces({ paths: { net } })
})
afterAll(() => {
  for (const net of [netns, other]) unpinNamespace(net)
  rmSync(folder, { recursive: true })
})
beforeEach(async () => void (await nft(['flush', 'ruleset'])))

async function nft(args: readonly string[], input = '', place = netns): Promise<string> {
  const { code, stdout, stderr } = await runProgram('nft', args, { netns: place, input })
  expect(code, `${stderr.slice(0, 2000)}`).toBe(0)
  return stdout
}

const load = async (text: string, place = netns): Promise<void> => void (await nft(['-f', '-'], text, place))

type Listed = Record<string, { name?: string }>
const list = async (place = netns): Promise<Listed[]> => {
  const text = await nft(['-j', 'list', 'table', 'ip', 'kube-proxy'], '', place)
  return (JSON.parse(text) as { nftables: Listed[] }).nftables
}

/** What a kernel has in the table, in a comparable order. */
async function holds(place: string): Promise<string[]> {
  const plain = (key: string, value: unknown): unknown => {
    if (key === 'handle' || key === 'metainfo') return undefined
    return key === 'elem' && Array.isArray(value) ? value.map((one) => JSON.stringify(one)).sort() : value
  }
  return (await list(place)).map((one) => JSON.stringify(one, plain)).sort()
}

/** Deletes what is not in the program: it fails when that still names it. */
async function deleteLeftovers({ services, shared }: NftablesProgram): Promise<void> {
  const parts = [shared, ...services]
  const wanted = new Set(parts.flatMap(({ chains, containers }) => [...chains, ...containers].map(({ name }) => name)))
  const objects = (await list()).flatMap((one) =>
    ['chain', 'set', 'map'].flatMap((kind) => (one[kind]?.name === undefined ? [] : [{ kind, name: one[kind].name }])),
  )
  const extra = objects.filter(({ name }) => !wanted.has(name))
  await load(extra.map(({ kind, name }) => `delete ${kind} ip kube-proxy ${name}\n`).join(''))
}

const facts: NodeFacts = {
  nodeIPs: { IPv4: '192.0.2.1', IPv6: '2001:db8::1' },
  interfaces: { eth0: ['192.0.2.1/24', '198.51.100.1/24', '2001:db8::1/64'] },
  nodePortAddresses: [],
  masqueradeAll: false,
  masqueradeBit: 14,
  localhostNodePorts: true,
  localTraffic: { mode: 'ClusterCIDR', cidrs: ['10.99.0.0/16', 'fd99::/16'] },
  randomFully: true,
  nfacct: false,
  conntrackLiberal: false,
  serviceCIDRs: ['10.96.0.0/16', '10.97.0.0/16'],
}

const service = (name: string, spec: ServiceSpec, vips: string[] = []): Service => ({
  metadata: { namespace: 'shop', name },
  spec,
  status: { loadBalancer: { ingress: vips.map((ip) => ({ ip })) } },
})

const slice = (name: string, addresses: readonly string[], family: IPFamily = 'IPv4', ports = ['']): EndpointSlice => ({
  metadata: { namespace: 'shop', name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
  addressType: family,
  endpoints: addresses.map((address, index) => ({
    addresses: [address],
    nodeName: index % 2 === 0 ? 'here' : 'elsewhere',
  })),
  ports: ports.map((port) => ({ name: port, port: 8080 })),
})

const graphOf = (
  services: readonly Service[],
  endpointSlices: readonly EndpointSlice[],
  family: IPFamily = 'IPv4',
  previous?: ServiceGraph,
): ServiceGraph => serviceGraph({ family, nodeName: 'here', zone: '', services, endpointSlices }, previous)

const compile = (
  services: readonly Service[],
  slices: readonly EndpointSlice[] = [],
  more: Partial<NodeFacts> = {},
  layout: NftablesLayout = 'compat',
): NftablesProgram => compileNftables(graphOf(services, slices), { ...facts, ...more }, { layout })

/** Pseudo-random numbers below a limit, the same each time. */
function dice(seed: number): (limit: number) => number {
  let state = seed
  return (limit) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((state / 2_147_483_648) * limit)
  }
}

function randomService(index: number, roll: (limit: number) => number): Service {
  const type = ['ClusterIP', 'NodePort', 'LoadBalancer'][roll(3)] as string
  const spec: ServiceSpec = {
    type,
    clusterIP: `10.96.0.${index + 1}`,
    ports: [
      { name: 'a', port: 80 + roll(2), ...(type !== 'ClusterIP' && { nodePort: 30_000 + index }) },
      { name: 'b', port: 90, protocol: 'TCP' },
    ],
    externalTrafficPolicy: roll(2) === 0 ? 'Local' : 'Cluster',
    internalTrafficPolicy: roll(3) === 0 ? 'Local' : 'Cluster',
    sessionAffinity: roll(3) === 0 ? 'ClientIP' : 'None',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 100 + roll(2) } },
    // The same ones for all: Services quarrel for them.
    externalIPs: roll(3) === 0 ? ['203.0.113.1'] : [],
    ...(roll(2) === 0 && { loadBalancerSourceRanges: ['192.0.2.0/24', '203.0.113.128/25'] }),
  }
  return service(`s${index}`, spec, type === 'LoadBalancer' ? ['203.0.113.2', `203.0.113.${index + 10}`] : [])
}

it.each(['compat', 'fast'] as const)(
  '%s: after each of many changes the kernel holds what a whole load makes',
  async (layout) => {
    const roll = dice(7)
    const services = new Map<number, Service>()
    const slices = new Map<number, EndpointSlice>()
    let graph = graphOf([], [])
    let program = compileNftables(graph, facts, { layout })
    await load(nftablesText(program))
    for (let step = 0; step < 25; step += 1) {
      const index = roll(5)
      if (roll(4) === 0) services.delete(index)
      else if (roll(2) === 0) services.set(index, randomService(index, roll))
      const addresses = Array.from({ length: roll(12) }, () => `10.99.1.${roll(20) + 1}`)
      slices.set(index, slice(`s${index}`, addresses, 'IPv4', ['a', 'b']))
      graph = graphOf([...services.values()], [...slices.values()], 'IPv4', graph)
      const addressesOf = roll(2) === 0 ? [] : ['198.51.100.0/24']
      const next = compileNftables(graph, { ...facts, nodePortAddresses: addressesOf }, { layout, previous: program })
      const text = nftablesChangeText(program, next)
      if (text !== '') await load(text)
      program = next
      await deleteLeftovers(program)
      await nft(['flush', 'ruleset'], '', other)
      await load(nftablesText(program), other)
      expect(await holds(netns), `step ${step}\n${text}`).toEqual(await holds(other))
    }
  },
)

it('nothing changes: there is no transaction', () => {
  const services = [service('web', { clusterIP: '10.96.0.1', ports: [{ port: 80 }] })]
  const before = graphOf(services, [slice('web', ['10.99.1.1'])])
  const program = compileNftables(before, facts, { layout: 'fast' })
  const after = graphOf(services, [slice('web', ['10.99.1.1'])], 'IPv4', before)
  const again = compileNftables(after, facts, { layout: 'fast', previous: program })
  expect(nftablesChangeText(program, again)).toBe('')
  expect(again.services[0]).toBe(program.services[0])
})

it('compat writes all ports of a changed Service, as the Go proxy does; fast only the chains that differ', () => {
  const ports = ['a', 'b'].map((name, index) => ({ name, port: 80 + index }))
  const services = ['web', 'web-2'].map((name, index) => service(name, { clusterIP: `10.96.0.${index + 1}`, ports }))
  const slices = (addresses: readonly string[]): EndpointSlice[] => [
    slice('web', addresses, 'IPv4', ['a']),
    { ...slice('web', ['10.99.1.9'], 'IPv4', ['b']), metadata: { ...slice('web', []).metadata, name: 'web-b' } },
    slice('web-2', ['10.99.1.7'], 'IPv4', ['a', 'b']),
  ]
  const flushed = (layout: NftablesLayout): string[] => {
    const before = graphOf(services, slices(['10.99.1.1']))
    const after = graphOf(services, slices(['10.99.1.2']), 'IPv4', before)
    const program = compileNftables(before, facts, { layout })
    const text = nftablesChangeText(program, compileNftables(after, facts, { layout, previous: program }))
    return [...text.matchAll(/^flush chain ip kube-proxy service-\w+-(\S+)/gm)].map(([, path = '']) => path)
  }
  expect(flushed('compat').sort()).toEqual(['shop/web/tcp/a', 'shop/web/tcp/b'])
  expect(flushed('fast')).toEqual(['shop/web/tcp/a'])
})

it('of two Services that want one address the last by name has it; the other has it when that goes (18.11)', () => {
  const both = ['b', 'a'].map((name, index) =>
    service(name, { clusterIP: `10.96.0.${index + 1}`, externalIPs: ['203.0.113.1'], ports: [{ port: 80 }] }),
  )
  const slices = ['a', 'b'].map((name) => slice(name, ['10.99.1.1']))
  const text = nftablesText(compile(both, slices))
  const element = /add element ip kube-proxy service-ips \{ 203\.0\.113\.1 .*\}/g
  expect(text.match(element)).toEqual([expect.stringMatching(/goto external-\w+-shop\/b\/tcp\//)])
  const change = nftablesChangeText(compile(both, slices), compile(both.slice(1), slices))
  expect(change.match(element)).toEqual([expect.stringMatching(/goto external-\w+-shop\/a\/tcp\//)])
  expect(change).toContain('delete element ip kube-proxy service-ips { 203.0.113.1 . tcp . 80 }')
  // Both have this endpoint.
  expect(change).not.toContain('hairpin-connections')
})

it('node ports: everywhere, on chosen addresses, and never on loopback ones', async () => {
  const services = [
    service('web', { type: 'NodePort', clusterIP: '10.96.0.1', ports: [{ port: 80, nodePort: 30_080 }] }),
  ]
  const everywhere = nftablesText(compile(services, [], { nodePortAddresses: ['0.0.0.0/0'] }))
  expect(everywhere).not.toContain('nodeport-ips')
  const port = 'meta l4proto . th dport vmap'
  expect(everywhere).toContain(`services fib daddr type local ip daddr != 127.0.0.0/8 ${port} @service-nodeports\n`)
  expect(everywhere).toContain(`nodeport-endpoints-check ip daddr != 127.0.0.0/8 ${port} @no-endpoint-nodeports\n`)
  await load(everywhere)
  const chosen = nftablesText(compile(services, [], { nodePortAddresses: ['198.51.100.0/24', '127.0.0.0/8'] }))
  expect(chosen.match(/nodeport-ips \{ [\d.]+ \}/g)).toEqual(['nodeport-ips { 198.51.100.1 }'])
  await load(chosen)
  expect(chosen).toContain('ip daddr { 10.96.0.0/16,10.97.0.0/16 } drop')
})

it('names as long as they come, and interfaces of strange names, load', async () => {
  const long = 'n'.repeat(63)
  const metadata = { namespace: 'm'.repeat(63), name: long }
  const ports = [{ name: 'p'.repeat(63), port: 80 }]
  const one: Service = { metadata, spec: { clusterIP: 'fd96::1', ports, sessionAffinity: 'ClientIP' } }
  const address = '2001:db8:1111:2222:3333:4444:5555:6666'
  const endpoints = slice('x', [address], 'IPv6', [ports[0]?.name ?? ''])
  endpoints.metadata = { namespace: metadata.namespace, name: 'x', labels: { 'kubernetes.io/service-name': long } }
  const loadFor = async (localTraffic: NodeFacts['localTraffic'], slices: EndpointSlice[]): Promise<string> => {
    const program = compileNftables(graphOf([one], slices, 'IPv6'), { ...facts, localTraffic }, { layout: 'compat' })
    const text = nftablesText(program)
    await load(text)
    return text
  }
  const text = await loadFor({ mode: 'InterfaceNamePrefix', prefix: 'a@b:c.d_e-f1234' }, [endpoints])
  const [, chain = ''] = /^add chain ip6 kube-proxy (endpoint-.*)$/m.exec(text) ?? []
  expect(chain).toHaveLength('endpoint-'.length + 240)
  expect(chain).toMatch(/__2001\.db8\.1111.*\.\.\.$/)
  expect(text).toContain(`iifname != "a@b:c.d_e-f1234" mark`)
  expect(text).toContain(`meta l4proto tcp dnat to [${address}]:8080`)
  // Without endpoints its name is a comment, of which nft takes 128 characters.
  const refused = await loadFor({ mode: 'InterfaceNamePrefix', prefix: '0x' }, [])
  expect(refused).toContain(`comment "${metadata.namespace}/${long}:" : goto reject-chain`)
  expect(refused).toContain(`iifname != "0x*" mark`)
})

it('source ranges that overlap or repeat load', async () => {
  const ranges = ['192.0.2.0/24', '192.0.2.0/24', '192.0.0.0/16', '10.0.0.0/8', '10.1.0.0/16', '192.0.2.77/32']
  const spec: ServiceSpec = { type: 'LoadBalancer', clusterIP: '10.96.0.1', ports: [{ port: 80 }] }
  const one = service('web', { ...spec, loadBalancerSourceRanges: ranges }, ['192.0.2.77', '203.0.113.2'])
  const text = normaliseNft(nftablesText(compile([one], [slice('web', ['10.99.1.1'])])))
  expect(text).toContain('ip saddr != { 192.0.2.0/24 , 192.0.0.0/16 , 10.0.0.0/8 ,')
  await load(text)
})

/** Each verdict of a policy chain with its probability, by the numbers in its rules. */
function chances(rules: readonly string[]): Map<string, number> {
  const found = new Map<string, number>()
  let left = 1
  for (const rule of rules) {
    const [, modulus = '1', verdict = ''] = /(?:numgen random mod (\d+) 0 )?((?:dnat to|goto) \S+)$/.exec(rule) ?? []
    found.set(verdict, left / Number(modulus))
    left -= left / Number(modulus)
  }
  expect(left).toBeCloseTo(0)
  return found
}

it('the layout fast has a rule for each of a few endpoints, with equal chances, and a map for many', async () => {
  const policy = (count: number, sessionAffinity = 'None'): readonly string[] => {
    const one = service('web', { clusterIP: '10.96.0.1', ports: [{ port: 80 }], sessionAffinity })
    const addresses = Array.from({ length: count }, (_, index) => `10.99.1.${index + 1}`)
    const program = compile([one], [slice('web', addresses)], {}, 'fast')
    const chains = program.services.flatMap((part) => part.chains)
    return chains.find(({ name }) => name.startsWith('service-'))?.rules ?? []
  }
  expect(policy(1)).toEqual(['meta l4proto tcp dnat to 10.99.1.1:8080'])
  expect(policy(3)).toEqual([
    'meta l4proto tcp numgen random mod 3 0 dnat to 10.99.1.1:8080',
    'meta l4proto tcp numgen random mod 2 0 dnat to 10.99.1.2:8080',
    'meta l4proto tcp dnat to 10.99.1.3:8080',
  ])
  for (const rules of [policy(16), policy(16, 'ClientIP').slice(16)]) {
    const probabilities = [...chances(rules).values()]
    expect(probabilities).toHaveLength(16)
    for (const probability of probabilities) expect(probability).toBeCloseTo(1 / 16)
  }
  expect(policy(17)).toEqual([expect.stringContaining('numgen random mod 17 map { 0 : 10.99.1.10 . 8080 , ')])
  expect(policy(17, 'ClientIP').slice(17)).toEqual([expect.stringContaining('numgen random mod 17 vmap { 0 : goto ')])
})

it('malformed facts are refused by name', () => {
  expect(() => compile([], [], { masqueradeBit: 32 })).toThrow('masqueradeBit: 32 is no bit')
  expect(() => compile([], [], { serviceCIDRs: ['10.96.0.0/33'] })).toThrow('serviceCIDRs: "10.96.0.0/33" is no CIDR')
  const prefix = 'eth0" drop; #'
  expect(() => compile([], [], { localTraffic: { mode: 'InterfaceNamePrefix', prefix } })).toThrow('no interface name')
})
