import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, test } from 'vitest'
import { parseResolvConf, podDns } from '../src/pod/dns.ts'
import { hostNetworkHostsFile, hostsFile, podHostname } from '../src/pod/hostname.ts'

const node = { servers: ['192.0.2.53'], searches: ['example.org'], options: ['timeout:1'] }
const facts = { node, clusterDns: ['10.96.0.10'], clusterDomain: 'cluster.local' }
const pod = (spec: Partial<NonNullable<Pod['spec']>>): Pod => ({
  metadata: { name: 'web', namespace: 'shop', uid: 'u' },
  spec: { containers: [], ...spec },
})
const cluster = {
  servers: ['10.96.0.10'],
  searches: ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local', 'example.org'],
  options: ['ndots:5'],
}

test('reads a resolv.conf', () => {
  const text =
    '# a comment\nnameserver 192.0.2.53\n; another\nsearch old\nsearch example.org. b\noptions timeout:1 rotate\n'
  expect(parseResolvConf(text)).toEqual({
    servers: ['192.0.2.53'],
    searches: ['example.org', 'b'],
    options: ['timeout:1', 'rotate'],
  })
})

test.each([
  ['the default policy', pod({}), cluster],
  ['Default', pod({ dnsPolicy: 'Default' }), node],
  ['ClusterFirst on the host network', pod({ hostNetwork: true }), node],
  ['ClusterFirstWithHostNet', pod({ hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' }), cluster],
  [
    'None with a configuration',
    pod({
      dnsPolicy: 'None',
      dnsConfig: { nameservers: ['1.1.1.1'], searches: ['s'], options: [{ name: 'ndots', value: '2' }] },
    }),
    { servers: ['1.1.1.1'], searches: ['s'], options: ['ndots:2'] },
  ],
  [
    'merged',
    pod({
      dnsConfig: { searches: ['cluster.local', 'x'], options: [{ name: 'ndots', value: '1' }, { name: 'rotate' }] },
    }),
    { ...cluster, searches: [...cluster.searches, 'x'], options: ['ndots:1', 'rotate'] },
  ],
])('%s', (_, given, expected) => {
  expect(podDns(given, facts)).toEqual({ config: expected, warnings: [] })
})

test('no cluster DNS falls back and says so', () => {
  const { config, warnings } = podDns(pod({}), { ...facts, clusterDns: [] })
  expect(config).toEqual(node)
  expect(warnings).toMatchObject([
    { reason: 'MissingClusterDNS', message: expect.stringMatching(/^pod: "web_shop\(u\)"/) },
  ])
})

test('the resolver limits cut and say so', () => {
  const nameservers = ['1.0.0.1', '1.0.0.2', '1.0.0.3', '1.0.0.4']
  const searches = Array.from({ length: 40 }, (_, index) => `d${index}`)
  const { config, warnings } = podDns(pod({ dnsPolicy: 'None', dnsConfig: { nameservers, searches } }), facts)
  expect(config.servers).toEqual(nameservers.slice(0, 3))
  expect(config.searches).toHaveLength(32)
  expect(warnings.map(({ reason }) => reason)).toEqual(['DNSConfigForming', 'DNSConfigForming'])
})

test('hostname and FQDN', () => {
  expect(podHostname(pod({}), 'cluster.local')).toEqual({ hostname: 'web' })
  expect(podHostname(pod({ hostname: 'h', subdomain: 's' }), 'cluster.local')).toEqual({
    hostname: 'h',
    fqdn: 'h.s.shop.svc.cluster.local',
  })
  expect(podHostname({ metadata: { name: `${'a'.repeat(62)}-b` } }, 'x').hostname).toBe('a'.repeat(62))
  const long = pod({ hostname: 'h'.repeat(60), subdomain: 's', setHostnameAsFQDN: true })
  expect(() => podHostname(long, 'cluster.local')).toThrow(
    'is too long (64 characters is the max, 85 characters requested)',
  )
})

test('the managed hosts file', () => {
  const text = hostsFile(['10.88.0.2'], { hostname: 'web', fqdn: 'web.s.shop.svc.c' }, [
    { ip: '192.0.2.1', hostnames: ['a', 'b'] },
  ])
  expect(text.split('\n')).toEqual([
    '# Kubernetes-managed hosts file.',
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::0\tip6-localnet',
    'fe00::0\tip6-mcastprefix',
    'fe00::1\tip6-allnodes',
    'fe00::2\tip6-allrouters',
    '10.88.0.2\tweb.s.shop.svc.c\tweb',
    '',
    '# Entries added by HostAliases.',
    '192.0.2.1\ta\tb',
    '',
  ])
  expect(hostNetworkHostsFile('127.0.0.1 localhost\n')).toBe(
    '# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n',
  )
})
