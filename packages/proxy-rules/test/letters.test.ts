// What the worked examples do not have, to the letter of kube-proxy.
import { compileIptables, compileNftables, iptablesText, nftablesText, serviceGraph } from '@nodelet/proxy-rules'
import type { NodeFacts, ServiceGraph } from '@nodelet/proxy-rules'
import type { ServiceSpec } from 'kubernetes-types/core/v1.d.ts'
import { expect, it } from 'vitest'

const facts: NodeFacts = {
  nodeIPs: { IPv4: '192.168.0.2' },
  interfaces: {},
  nodePortAddresses: [],
  masqueradeAll: false,
  masqueradeBit: 14,
  localhostNodePorts: true,
  localTraffic: { mode: 'ClusterCIDR', cidrs: [] },
  randomFully: true,
  nfacct: false,
  conntrackLiberal: false,
}

const graphWith = (
  count: number,
  spec: ServiceSpec = {},
  vips: readonly string[] = [],
  withoutExternalIPs = false,
): ServiceGraph =>
  serviceGraph({
    withoutExternalIPs,
    family: 'IPv4',
    nodeName: 'node-a',
    zone: '',
    services: [
      {
        metadata: { namespace: 'ns1', name: 'web' },
        spec: { clusterIP: '172.30.0.1', ports: [{ port: 80 }], ...spec },
        status: { loadBalancer: { ingress: vips.map((ip) => ({ ip })) } },
      },
    ],
    endpointSlices: [
      {
        metadata: { namespace: 'ns1', name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' } },
        addressType: 'IPv4',
        ports: [{ name: '', port: 8080 }],
        endpoints: Array.from({ length: count }, (_, at) => ({ addresses: [`10.244.${at >> 8}.${at & 255}`] })),
      },
    ],
  })

it('without AllowServiceExternalIPs external IPs vanish, and a Service still counts as reachable from outside', () => {
  const spec = { externalIPs: ['198.51.100.1'], externalTrafficPolicy: 'Local', internalTrafficPolicy: 'Local' }
  const graph = graphWith(1, spec, [], true)
  const ipt = iptablesText(compileIptables(graph, facts))
  const nft = nftablesText(compileNftables(graph, facts, { layout: 'compat' }))
  for (const text of [ipt, nft]) expect(text).not.toContain('198.51.100.1')
  expect(ipt.match(/(?<=^:)KUBE-(SVC|SVL|EXT)-/gm)).toEqual(['KUBE-SVC-', 'KUBE-EXT-'])
  expect(nft).toContain('add chain ip kube-proxy external-')
  expect(iptablesText(compileIptables(graphWith(1, spec), facts))).toContain('-d 198.51.100.1')
})

it('a chance of one in 2048 is rounded to the even digit', () => {
  const text = iptablesText(compileIptables(graphWith(2049), facts))
  const [first, second, third] = text.match(/(?<=--probability )\S+/g) ?? []
  expect([first, second, third]).toEqual(['0.0004880429', '0.0004882812', '0.0004885198'])
})

it.each([
  ['cbr0', 'cbr0'],
  ['avocado', 'avocado'],
  ['br_a.100', 'br_a.100'],
  ['bridge', '"bridge"'],
  ['rt0', '"rt0"'],
  ['0br', '"0br"'],
])('in nftables mode the bridge %s is written %s', (name, written) => {
  const localTraffic = { mode: 'BridgeInterface', interface: name } as const
  const text = nftablesText(compileNftables(graphWith(1), { ...facts, localTraffic }))
  expect(text).toContain(`services ip daddr @cluster-ips iifname != ${written} mark set mark or 0x00004000`)
})

it('source ranges that occur twice are written twice', () => {
  const ranges = ['10.1.2.3/8', '10.0.0.0/8', ' 192.168.0.0/24']
  const graph = graphWith(1, { type: 'LoadBalancer', loadBalancerSourceRanges: ranges }, ['203.0.113.1'])
  const rule = 'ip saddr != { 10.0.0.0/8 , 10.0.0.0/8 , 192.168.0.0/24 , 203.0.113.1 } drop'
  expect(nftablesText(compileNftables(graph, facts))).toContain(rule)
})
