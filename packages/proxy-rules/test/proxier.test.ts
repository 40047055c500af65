// The proxy as a whole: an API server, the kernel's rules, and packets.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { openNetlink } from '@nodelet/linux'
import type { Node, Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import {
  keepKubeletRules,
  parseKubeProxyConfiguration,
  readOwnNode,
  removeNodeRules,
  usualConntrack,
} from '@nodelet/proxy-rules'
import { describe, expect, test } from 'vitest'
import { clusterIP, eventually, useProxier } from './proxier-world.ts'
import { hostIP, podIPs, podIPv6s } from './small-host.ts'

const world = useProxier()
const { start, putService, putEndpoints } = world

test('a cluster IP leads to all endpoints, from the host and from pods; so does a node port', async () => {
  putService({ type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] })
  putEndpoints(['a', 'b'])
  await start()
  for (const from of ['host', 'client', 'a'] as const) {
    const answers = await world.host.ask(from, 'tcp', `${clusterIP}:80`, 24)
    expect(new Set(answers), from).toEqual(new Set(['a', 'b']))
  }
  expect(new Set(await world.host.ask('client', 'tcp', `${hostIP}:30080`, 24))).toEqual(new Set(['a', 'b']))
  expect(new Set(await world.host.ask('host', 'tcp', '127.0.0.1:30080', 24))).toEqual(new Set(['a', 'b']))
  expect(world.told).toEqual([])
})

test('endpoints come and go; without any, connections are refused at once', async () => {
  putService()
  putEndpoints(['a'])
  await start()
  expect(await world.host.ask('client', 'tcp', `${clusterIP}:80`, 3)).toEqual(['a', 'a', 'a'])
  putEndpoints(['b'])
  await eventually(async () =>
    expect(await world.host.ask('client', 'tcp', `${clusterIP}:80`, 3)).toEqual(['b', 'b', 'b']),
  )
  putEndpoints([])
  await eventually(async () =>
    expect(await world.host.ask('client', 'tcp', `${clusterIP}:80`, 1)).toEqual(['ECONNREFUSED']),
  )
  expect(await world.host.ask('host', 'tcp', `${clusterIP}:80`, 1)).toEqual(['ECONNREFUSED'])
  expect(await world.host.rules()).not.toContain('KUBE-SEP-')
  world.server.remove('/api/v1/namespaces/shop/services/web')
  await eventually(async () => expect(await world.host.rules()).not.toContain('shop/web'))
})

test('IPv6 of the same Service', async () => {
  putService({ clusterIPs: [clusterIP, 'fd96::10'], ipFamilies: ['IPv4', 'IPv6'] })
  putEndpoints(['a'])
  const metadata = { name: 'web-6', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'web' } }
  const endpoints = [{ addresses: [podIPv6s.b], conditions: { ready: true } }]
  const slice: EndpointSlice = { metadata, addressType: 'IPv6', endpoints, ports: [{ name: '', port: 8080 }] }
  world.server.put('/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/web-6', slice)
  await start({ localTraffic: { mode: 'ClusterCIDR', cidrs: ['10.99.0.0/16', 'fd99::/16'] } })
  expect(await world.host.ask('client', 'tcp', `${clusterIP}:80`, 2)).toEqual(['a', 'a'])
  expect(await world.host.ask('client', 'tcp', '[fd96::10]:80', 2)).toEqual(['b', 'b'])
})

test('a UDP flow leaves an endpoint that is gone', async () => {
  putService({}, 'dns', 'UDP')
  putEndpoints(['a'], 'dns', 'UDP')
  await start()
  expect(await world.host.ask('client', 'udp', `${clusterIP}:80`, 2, 5353)).toEqual(['a', 'a'])
  expect(await world.host.run('conntrack', '-L', '-p', 'udp')).toContain(`src=${podIPs.a}`)
  putEndpoints(['b'], 'dns', 'UDP')
  await eventually(async () =>
    expect(await world.host.run('conntrack', '-L', '-p', 'udp')).not.toContain(`src=${podIPs.a} dst`),
  )
  expect(await world.host.ask('client', 'udp', `${clusterIP}:80`, 2, 5353)).toEqual(['b', 'b'])
})

test('a UDP flow to an endpoint that went while no proxy ran is forgotten, though the Service has no other', async () => {
  putService({}, 'dns', 'UDP')
  putEndpoints(['a'], 'dns', 'UDP')
  await start()
  expect(await world.host.ask('client', 'udp', `${clusterIP}:80`, 1, 5354)).toEqual(['a'])
  await world.proxier?.close()
  expect(await world.host.run('conntrack', '-L', '-p', 'udp')).toContain('sport=5354')
  putEndpoints([], 'dns', 'UDP')
  await start()
  await eventually(async () => expect(await world.host.run('conntrack', '-L', '-p', 'udp')).not.toContain('sport=5354'))
})

test('UDP flows leave with the endpoint, by whatever address of the Service they came; flows of others stay', async () => {
  const spec = {
    type: 'LoadBalancer',
    ports: [{ port: 80, nodePort: 30053, protocol: 'UDP' }],
    externalIPs: ['203.0.113.5'],
  }
  putService(spec, 'dns', 'UDP', ['203.0.113.6'])
  putEndpoints(['a'], 'dns', 'UDP')
  await start()
  const own = [`${clusterIP}:80`, `${hostIP}:30053`, '203.0.113.5:80', '203.0.113.6:80']
  // To the endpoint itself, and to the number of the node port elsewhere.
  const others = [`${podIPs.a}:8080`, `${podIPs.b}:30053`]
  for (const [at, to] of [...own, ...others].entries()) await world.host.ask('client', 'udp', to, 1, 7001 + at)
  await world.host.ask('host', 'udp', '127.0.0.1:30053', 1, 7009)
  const flows = async (): Promise<string[]> =>
    [...(await world.host.run('conntrack', '-L', '-p', 'udp')).matchAll(/sport=(700\d) /g)]
      .map(([, port = '']) => port)
      .sort()
  expect(await flows()).toEqual(['7001', '7002', '7003', '7004', '7005', '7006', '7009'])
  putEndpoints(['b'], 'dns', 'UDP')
  await eventually(async () => expect(await flows()).toEqual(['7005', '7006']))
  for (const [at, to] of own.entries())
    expect(await world.host.ask('client', 'udp', to, 1, 7001 + at), to).toEqual(['b'])
  putEndpoints([], 'dns', 'UDP')
  await eventually(async () => expect(await flows()).toEqual(['7005', '7006']))
})

test('periods that are longer than timers count are as long as these, not none at all', async () => {
  const warnings: string[] = []
  const hear = ({ name }: Error): void => void warnings.push(name)
  process.on('warning', hear)
  const years = 1000 * 24 * 60 * 60 * 1000
  putService()
  await start({ syncPeriodMs: years, minSyncPeriodMs: years })
  await eventually(async () => expect(await world.host.rules()).toContain('shop/web'))
  process.off('warning', hear)
  expect(warnings).toEqual([])
})

test('cleaning up leaves the rules as they were, those of others included', async () => {
  await world.host.run('iptables', '-t', 'nat', '-A', 'POSTROUTING', '-s', '203.0.113.0/24', '-j', 'MASQUERADE')
  await world.host.run(
    'iptables',
    '-A',
    'INPUT',
    '-s',
    '203.0.113.7',
    '-m',
    'comment',
    '--comment',
    'mine',
    '-j',
    'DROP',
  )
  await world.host.run('iptables', '-t', 'mangle', '-N', 'MINE')
  for (const table of ['nat', 'filter', 'mangle']) await world.host.run('ip6tables', '-t', table, '-S')
  const before = await world.host.rules()
  putService({ type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] })
  putEndpoints(['a', 'b'])
  await start()
  expect((await world.host.rules()).split('\n').length).toBeGreaterThan(before.split('\n').length + 30)
  await world.proxier?.cleanup()
  expect(await world.host.rules()).toBe(before)
  await world.proxier?.cleanup()
  expect(await world.host.rules()).toBe(before)
})

test('proxy and kubelet of one process share a chain; either may go first', async () => {
  for (const table of ['nat', 'filter', 'mangle']) await world.host.run('ip6tables', '-t', table, '-S')
  const before = await world.host.rules()
  const keep = async (): Promise<void> => (await keepKubeletRules({ netns: world.host.netns }))[Symbol.asyncDispose]()
  await keep()
  const ofKubelet = await world.host.rules()
  await removeNodeRules({ netns: world.host.netns })
  expect(await world.host.rules()).toBe(before)
  putService()
  putEndpoints(['a'])
  await Promise.all([start(), keep()])
  const together = (await world.host.rules()).split('\n')
  // Two of each family.
  expect(together.filter((line) => line.endsWith('-j KUBE-FIREWALL'))).toHaveLength(4)
  expect(together.filter((line) => line.startsWith('-A KUBE-FIREWALL'))).toHaveLength(1)
  await world.proxier?.cleanup()
  expect(await world.host.rules()).toBe(ofKubelet)
  const again = await start()
  await again.close()
  await removeNodeRules({ netns: world.host.netns })
  expect(await world.host.rules()).toBe(before)
})

test('a second start adopts what is there: jumps once, stale chains gone', async () => {
  putService()
  putEndpoints(['a', 'b'])
  const first = await start()
  const rules = await world.host.rules()
  await first.close()
  expect(await world.host.rules()).toBe(rules)
  putEndpoints(['a'])
  await start()
  const again = (await world.host.rules()).split('\n')
  // Four of each family.
  expect(again.filter((line) => line.includes('-j KUBE-SERVICES'))).toHaveLength(8)
  expect(again.filter((line) => line.startsWith(':KUBE-SEP-'))).toHaveLength(1)
})

test.each([[['mangle', 'nat', 'filter']], [['nat']]])(
  'rules that somebody flushed (%j) are loaded again',
  async (tables) => {
    putService()
    putEndpoints(['a'])
    await start({ syncPeriodMs: 100 })
    for (const table of tables) {
      await world.host.run('iptables', '-t', table, '-F')
      await world.host.run('iptables', '-t', table, '-X')
    }
    await eventually(async () => expect(await world.host.ask('client', 'tcp', `${clusterIP}:80`, 1)).toEqual(['a']))
    expect(world.told).toEqual([expect.stringContaining('somebody has flushed or changed the rules')])
  },
)

test.each(['nft', 'legacy'] as const)(
  'rules that somebody took away from under their chains come back, with what changed meanwhile: iptables-%s',
  async (iptablesVariant) => {
    const iptables = async (...args: string[]): Promise<string> =>
      world.host.run(`iptables-${iptablesVariant}`, ...args)
    const saved = async (): Promise<string> =>
      (await world.host.run(`iptables-${iptablesVariant}-save`))
        .split('\n')
        .filter((line) => !line.startsWith('#'))
        .map((line) => line.replace(/ \[\d+:\d+\]$/, ''))
        .join('\n')
    for (const [at, name] of ['one', 'two', 'web'].entries()) {
      putService({ clusterIP: `10.96.0.${10 + at}` }, name)
      putEndpoints(['a'], name)
    }
    await start({ syncPeriodMs: 100, iptablesVariant })
    const before = await saved()
    expect(before).toContain('shop/web')
    for (const harm of [
      ['-t', 'nat', '-F'],
      ['-F'],
      ['-t', 'nat', '-D', 'KUBE-SERVICES', '2'],
      ['-t', 'nat', '-F', 'KUBE-POSTROUTING'],
      ['-t', 'nat', '-D', 'PREROUTING', '1'],
      ['-D', 'FORWARD', '1'],
    ]) {
      await iptables(...harm)
      await eventually(async () => expect(await saved(), harm.join(' ')).toBe(before))
    }
    // A rule that is put where it would belong were all there is in the wrong place.
    await iptables('-t', 'nat', '-D', 'KUBE-SERVICES', '1')
    putService({ clusterIP: '10.96.0.13' }, 'zoo')
    putEndpoints(['b'], 'zoo')
    const added = (text: string): boolean => text.includes('shop/zoo')
    await eventually(async () => {
      const rules = (await saved()).split('\n')
      expect(rules.filter((rule) => rule.startsWith('-A KUBE-SERVICES')).at(-1)).toContain('must be the last')
      const last = before.split('\n').filter((rule) => rule.startsWith('-A KUBE-SERVICES'))
      expect(rules.filter((rule) => rule.startsWith('-A KUBE-SERVICES') && !added(rule))).toEqual(last)
    })
    expect(new Set(world.told)).toEqual(new Set([expect.stringContaining('somebody has flushed or changed the rules')]))
  },
  60_000,
)

test('health check node ports tell of ready endpoints on this node', async () => {
  const spec = { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 30999 }
  putService({ ...spec, ports: [{ port: 80, nodePort: 30080 }] })
  putEndpoints(['a', 'b'])
  await start()
  const ask = (address: string) => world.host.get(`http://${address}:30999/any`)
  const { status, headers, body } = await ask(hostIP)
  expect([status, headers['x-load-balancing-endpoint-weight'], headers['content-type']]).toEqual([
    200,
    '2',
    'application/json',
  ])
  expect(body).toBe(
    '{\n\t"service": {\n\t\t"namespace": "shop",\n\t\t"name": "web"\n\t},\n\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}',
  )
  putEndpoints([])
  await eventually(async () => expect((await ask('127.0.0.1')).status).toBe(503))
  // Of IPv6 it has no cluster IP, and so nothing to say.
  await expect(ask('[::1]')).rejects.toThrow()
  await world.host.serve('host', 8081)
  putService({ ...spec, ports: [{ port: 80, nodePort: 30080 }], healthCheckNodePort: 8081 })
  await eventually(async () => expect(eventsOf(world.server.seen)).toHaveLength(2))
  expect(eventsOf(world.server.seen)[1]).toMatchObject({
    type: 'Warning',
    reason: 'FailedToStartServiceHealthcheck',
    action: 'Listen',
    regarding: { kind: 'Service', namespace: 'shop', name: 'web', uid: 'shop/web' },
    metadata: { namespace: 'shop' },
    note: 'node node failed to start healthcheck "shop/web" on port 8081: listen EADDRINUSE: address already in use :::8081',
  })
  world.host.stopServing('host')
  putService({ ports: [{ port: 80 }] })
  await eventually(async () => await expect(ask(hostIP)).rejects.toThrow('ECONNREFUSED'))
})

test('what is left out of an object is told once, not with each load', async () => {
  putService({ ports: [{ port: 80 }, { name: 'bad', port: 0 }] })
  putEndpoints(['a'])
  await start()
  putEndpoints(['b'])
  await eventually(async () => expect(await world.host.ask('client', 'tcp', `${clusterIP}:80`, 1)).toEqual(['b']))
  expect(world.told.filter((line) => line.includes('spec.ports[1]'))).toHaveLength(1)
})

test('what is malformed in lists and watches is left out and told once; all else goes on', async () => {
  const service = { clusterIP: '10.96.0.50' }
  world.server.alsoListed.push(null)
  putService()
  putService(service, 'Web_1')
  putEndpoints(['a'])
  await start()
  expect(await world.host.ask('client', 'tcp', `${clusterIP}:80`, 1)).toEqual(['a'])
  world.server.writeToWatches('{"type":"ADDED","object":null}\n{"type":"MODIFIED","object":{"metadata":{"name":5}}}\n')
  // It changes no rule, and is told of nevertheless.
  putService(service, 'Web_2')
  await eventually(async () => expect(world.told.join()).toContain('Service shop/Web_2'))
  const when = { 'endpoints.kubernetes.io/last-change-trigger-time': { toString: 1 } as unknown as string }
  putEndpoints(['b'], 'web', 'TCP', 'node', when)
  await eventually(async () => expect(await world.host.ask('client', 'tcp', `${clusterIP}:80`, 1)).toEqual(['b']))
  const tellings = (text: string): number => world.told.filter((line) => line.includes(text)).length
  for (const plural of ['services', 'endpointslices', 'nodes']) {
    expect(tellings(`${plural}: null is no object; it is left out`), plural).toBe(1)
    expect(tellings(`${plural}: metadata of nothing, 5: name is no name`), plural).toBe(1)
  }
  // Once for each family.
  for (const name of ['Web_1', 'Web_2']) expect(tellings(`Service shop/${name}`), name).toBe(2)
  expect(world.told.filter((line) => !line.includes('left out'))).toEqual([])
})

test('a proxy says what becomes of a packet', async () => {
  putService({
    type: 'NodePort',
    ports: [
      { name: 'web', port: 80, nodePort: 30080 },
      { name: 'other', port: 81 },
    ],
  })
  putService({ clusterIP: '10.96.0.11', ports: [{ port: 80 }] }, 'empty')
  putEndpoints(['a', 'b'])
  const proxier = await start()
  const endpoints = { traces: [{ probability: 1, verdict: 'reject' }] }
  expect(proxier.trace({ to: 'shop/web:web', from: podIPs.a })).toMatchObject({
    mode: 'iptables',
    packet: { protocol: 'TCP', source: podIPs.a, destination: clusterIP, destinationPort: 80 },
    front: 'cluster IP',
  })
  expect(proxier.trace({ to: 'shop/empty' })).toMatchObject({ service: 'shop/empty', ...endpoints })
  const elsewhere = proxier.trace({ to: '203.0.113.1:443' })
  expect(elsewhere).toMatchObject({ service: undefined, traces: [{ verdict: 'accept', translation: undefined }] })
  for (const [inquiry, message] of [
    [{ to: 'shop/web' }, 'to: "shop/web" names 2 ports of the Service: it has other 81/TCP, web 80/TCP'],
    [{ to: 'shop/none' }, 'to: the proxy knows no Service shop/none with a cluster IP'],
    [{ to: 'web' }, 'to: "web" is neither NAMESPACE/SERVICE, with or without :PORT, nor ADDRESS:PORT'],
    [{ to: 'shop/empty', from: 'fd00::1' }, 'from: fd00::1 and 10.96.0.11 are of different families'],
    [{ to: 'shop/empty', from: 'me' }, 'from: "me" is no IP address'],
  ] as const) {
    expect(() => proxier.trace(inquiry)).toThrow(new RangeError(message))
  }
})

/** Events that were written, in their order. */
const eventsOf = (seen: typeof world.server.seen): unknown[] =>
  seen.filter(({ method, url }) => method === 'POST' && url.includes('/apis/events.k8s.io/v1/')).map(({ body }) => body)

test('healthz, livez, metrics and mode answer over HTTP', async () => {
  putService({ ports: [{ port: 80 }], internalTrafficPolicy: 'Local' })
  putEndpoints(['a'], 'web', 'TCP', 'elsewhere')
  const verbosities: number[] = []
  const beganAt = Date.now()
  await start({
    healthzBindAddress: '0.0.0.0:10256',
    metricsBindAddress: `${hostIP}:10249`,
    configuration: parseKubeProxyConfiguration({ clusterCIDR: '10.99.0.0/16' }, 'test'),
    pages: { flagz: true, statusz: true },
    enableProfiling: true,
    setVerbosity: (verbosity) => verbosities.push(verbosity),
  })
  await eventually(async () => expect(eventsOf(world.server.seen)).toHaveLength(1))
  expect(eventsOf(world.server.seen)[0]).toMatchObject({
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { namespace: 'default' },
    type: 'Normal',
    reason: 'Starting',
    action: 'StartKubeProxy',
    note: '',
    regarding: { kind: 'Node', name: 'node', uid: 'node' },
    reportingController: 'kube-proxy',
    eventTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/),
  })
  const healthz = () => world.host.get(`http://${hostIP}:10256/healthz`)
  // The node is not known.
  expect((await healthz()).status).toBe(503)
  world.server.put('/api/v1/nodes/node', { metadata: { name: 'node' } })
  await eventually(async () => expect((await healthz()).status).toBe(200))
  const answer = await healthz()
  expect(answer.headers).toMatchObject({
    'content-type': 'application/json',
    'x-content-type-options': 'nosniff',
    'content-length': String(answer.body.length),
  })
  expect(answer.body).toMatch(
    /^{"lastUpdated":".*","currentTime":".*","nodeEligible":true,"healthy":true,"status":{"IPv4"/,
  )
  const taints = [null as never, { key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule' }]
  const leaving: Node = { metadata: { name: 'node' }, spec: { taints } }
  world.server.put('/api/v1/nodes/node', leaving)
  await eventually(async () => expect((await healthz()).status).toBe(503))
  expect((await healthz()).body).toContain('"nodeEligible":false,"healthy":true')
  const livez = await world.host.get(`http://${hostIP}:10256/livez`)
  expect([livez.status, livez.body.includes('nodeEligible')]).toEqual([200, false])

  expect((await world.host.get(`http://${hostIP}:10256/readyz`)).status).toBe(200)

  const ask = (path: string) => world.host.get(`http://${hostIP}:10249${path}`)
  expect((await ask('/proxyMode')).body).toBe('iptables')
  expect((await ask('/healthz')).body).toBe('ok')
  expect((await ask('/healthz?verbose')).body).toBe('[+]ping ok\nhealthz check passed\n')
  expect(await ask('/nothing')).toMatchObject({
    status: 404,
    body: '404 page not found\n',
    headers: { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' },
  })
  expect(JSON.parse((await ask('/configz')).body)).toEqual({
    'kubeproxy.config.k8s.io': parseKubeProxyConfiguration({ clusterCIDR: '10.99.0.0/16' }, 'test'),
  })
  expect(await ask('/flagz')).toMatchObject({
    status: 200,
    body: expect.stringMatching(
      /^\nkube-proxy flagz\n.*\n\n[^]*^clusterCIDR=10\.99\.0\.0\/16\n[^]*^iptables\.syncPeriod=30s$/m,
    ),
  })
  expect((await ask('/statusz')).body).toMatch(
    /^\nkube-proxy statusz\n.*\n\nStarted: .* GMT\nUp: 0 hr \d\d min \d\d sec\n/,
  )
  expect((await ask('/metrics/slis')).body).toContain(
    'kubernetes_healthchecks_total{name="ping",type="healthz",status="success"} 2',
  )
  expect(await ask('/debug/pprof/')).toMatchObject({ status: 501, body: expect.stringContaining('makes profiles') })
  expect(await ask('/debug/flags/v')).toMatchObject({ status: 406, body: 'unsupported http method\n' })
  const put = (text: string) =>
    world.host.run(
      'busybox',
      'sh',
      '-c',
      `printf 'PUT /debug/flags/v HTTP/1.0\\r\\nContent-Length: ${text.length}\\r\\n\\r\\n${text}' | busybox nc ${hostIP} 10249`,
    )
  expect(await put('4')).toContain('successfully set klog.logging.verbosity to 4')
  expect(await put('x')).toContain('failed set klog.logging.verbosity "x"')
  expect(verbosities).toEqual([4])
  await expect(world.host.get('http://127.0.0.1:10249/healthz')).rejects.toThrow()
  const changed = (at: number) => ({
    'endpoints.kubernetes.io/last-change-trigger-time': new Date(at).toISOString(),
  })
  // Before the proxy was there to do anything about it.
  putEndpoints(['a'], 'web', 'TCP', 'elsewhere', changed(beganAt))
  await eventually(async () =>
    expect((await ask('/metrics')).body).toContain('kubeproxy_sync_proxy_rules_endpoint_changes_total 2'),
  )
  putEndpoints(['a', 'b'], 'web', 'TCP', 'elsewhere', changed(Date.now()))
  const metrics = async (): Promise<string[]> => (await ask('/metrics')).body.split('\n')
  await eventually(async () =>
    expect(await metrics()).toContain('kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"} 1'),
  )
  expect((await metrics()).join()).not.toContain('programming_duration_seconds_count{ip_family="IPv6"}')
  expect(await metrics()).toEqual(
    expect.arrayContaining([
      'kubeproxy_sync_proxy_rules_service_changes_total 1',
      'kubeproxy_sync_proxy_rules_endpoint_changes_total 3',
      'kubeproxy_sync_proxy_rules_endpoint_changes_pending 0',
      'kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="internal",ip_family="IPv4"} 1',
      'kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="external",ip_family="IPv4"} 0',
      'kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1',
      'kubeproxy_proxy_livez_total{code="200"} 1',
      // What is in the tables, without jumps: the Service has no endpoint here, so no chain of its own in use.
      `kubeproxy_sync_proxy_rules_iptables_total{table="filter",ip_family="IPv4"} ${await rulesOf('filter')}`,
      `kubeproxy_sync_proxy_rules_iptables_total{table="nat",ip_family="IPv4"} ${await rulesOf('nat')}`,
      // The last load was one of changes.
      'kubeproxy_sync_proxy_rules_iptables_last{table="nat",ip_family="IPv4"} 0',
    ]),
  )
})

test('a change that no rule comes of is brought to the kernel, too: nothing is late then', async () => {
  putService()
  putEndpoints(['a'])
  await start({ metricsBindAddress: `${hostIP}:10249` })
  const at = async (what: string): Promise<number> => {
    const { body } = await world.host.get(`http://${hostIP}:10249/metrics`)
    const name = `kubeproxy_sync_proxy_rules_last_${what}timestamp_seconds`
    return Number(new RegExp(`^${name}{ip_family="IPv4"} (.*)$`, 'm').exec(body)?.[1])
  }
  const before = await at('queued_')
  putService({ selector: { app: 'web' } })
  await eventually(async () => expect(await at('queued_')).toBeGreaterThan(before))
  await eventually(async () => expect(await at('')).toBeGreaterThanOrEqual(await at('queued_')))
})

const rulesOf = async (table: string): Promise<number> =>
  (await world.host.run('iptables', '-t', table, '-S')).split('\n').filter((line) => line.startsWith('-A KUBE-')).length

test('a load of what changed counts the rules that it left alone', async () => {
  putService()
  putService({ clusterIP: '10.96.0.11' }, 'other')
  putEndpoints(['a', 'b'])
  putEndpoints(['a'], 'other')
  await start({ metricsBindAddress: `${hostIP}:10249` })
  const value = async (name: string, table: string): Promise<number> => {
    const { body } = await world.host.get(`http://${hostIP}:10249/metrics`)
    const line = `kubeproxy_sync_proxy_rules_iptables_${name}{table="${table}",ip_family="IPv4"}`
    return Number(
      body
        .split('\n')
        .find((one) => one.startsWith(line))
        ?.split(' ')[1],
    )
  }
  // 5 fixed ones, and 2 + 3n for each Service of n endpoints.
  expect(await value('total', 'nat')).toBe(5 + 8 + 5)
  expect([await value('total', 'filter'), await rulesOf('filter'), await rulesOf('nat')]).toEqual([4, 4, 18])
  putEndpoints(['b'])
  await eventually(async () => expect(await value('total', 'nat')).toBe(5 + 5 + 5))
  // The chain of the one Service: for traffic from outside the pods, and for the endpoint.
  expect([await rulesOf('nat'), await value('last', 'nat'), await value('last', 'filter')]).toEqual([15, 2, 0])
})

/** Connects to a, and resets that when the host has forgotten it: one packet that is of no connection. */
const resetUnknown = (): Promise<string> =>
  world.host.runIn(
    'client',
    process.execPath,
    '-e',
    `const [host, netns] = process.argv.slice(1)
const socket = require('net').connect({ host, port: 8080, allowHalfOpen: true }).resume()
socket.on('end', () => {
  require('child_process').execFileSync('nsenter', ['--net=' + netns, 'conntrack', '-F'], { stdio: 'ignore' })
  socket.resetAndDestroy()
})`,
    podIPs.a,
    world.host.netns,
  )
const setLoose = (value: 0 | 1): Promise<string> =>
  world.host.run('sh', '-c', `echo ${value} > /proc/sys/net/netfilter/nf_conntrack_tcp_loose`)

test.each(['nft', 'legacy'] as const)(
  'packets dropped for being of no connection, and connections to node ports of loopback, are counted: iptables-%s',
  async (iptablesVariant) => {
    putService({ type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] })
    putEndpoints(['a'])
    await setLoose(0)
    await start({ metricsBindAddress: `${hostIP}:10249`, iptablesVariant })
    const count = async (what: string): Promise<number> => {
      const { body } = await world.host.get(`http://${hostIP}:10249/metrics`)
      return Number(new RegExp(`^kubeproxy_iptables_${what}_packets_total (.*)$`, 'm').exec(body)?.[1])
    }
    const [dropped, accepted] = ['ct_state_invalid_dropped', 'localhost_nodeports_accepted']
    expect(await count(accepted)).toBe(0)
    await world.host.ask('host', 'tcp', '127.0.0.1:30080', 3)
    await world.host.ask('client', 'tcp', `${hostIP}:30080`, 2)
    expect(await count(accepted)).toBe(3)
    // Ends of earlier connections may be dropped, too.
    const before = await count(dropped)
    await resetUnknown()
    await eventually(async () => expect(await count(dropped)).toBeGreaterThan(before))
    using net = openNetlink({ netns: world.host.netns })
    const counted = async (): Promise<unknown> => (await net.accounting.get('ct_state_invalid_dropped_pkts'))?.packets
    await eventually(async () => expect(await counted()).toBe(await count(dropped)))
    // A change of rules, and a proxy that starts anew, go on counting.
    putEndpoints(['b'])
    await eventually(async () => expect(await world.host.ask('host', 'tcp', '127.0.0.1:30080', 1)).toEqual(['b']))
    await world.proxier?.close()
    await start({ metricsBindAddress: `${hostIP}:10249`, iptablesVariant })
    expect(await count(accepted)).toBeGreaterThanOrEqual(4)
    expect(world.told).toEqual([])
    await setLoose(1)
    await world.proxier?.cleanup()
    expect(await net.accounting.list()).toEqual([])
  },
)

test('where a program does not know how to count, rules do without: the log says so once', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-no-nfacct-'))
  const { PATH = '' } = process.env
  const system = `${PATH}:/usr/local/sbin:/usr/sbin:/sbin`
  for (const path of globSync('/usr/{lib,lib/*,lib64}/xtables/*.so'))
    if (!path.includes('nfacct')) symlinkSync(path, join(folder, basename(path)))
  for (const name of ['iptables-restore', 'ip6tables-restore'])
    writeFileSync(join(folder, name), `#!/bin/sh\nPATH=${system} XTABLES_LIBDIR=${folder} exec ${name} "$@"\n`, {
      mode: 0o755,
    })
  try {
    process.env['PATH'] = `${folder}:${PATH}`
    putService({ type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] })
    putEndpoints(['a'])
    await start({ metricsBindAddress: `${hostIP}:10249` })
    expect(await world.host.ask('host', 'tcp', '127.0.0.1:30080', 1)).toEqual(['a'])
    expect(world.told).toEqual([expect.stringMatching(/^rules cannot count packets here.*nfacct/)])
    const rules = await world.host.rules()
    expect(rules).toContain('--ctstate INVALID -j DROP')
    expect(rules).not.toContain('nfacct')
    const { body } = await world.host.get(`http://${hostIP}:10249/metrics`)
    expect(body).not.toMatch(/ct_state_invalid|localhost_nodeports/)
  } finally {
    process.env['PATH'] = PATH
    rmSync(folder, { recursive: true })
  }
})

/** Somebody holds the lock of the legacy tables, which is one for these alone, and is waited for a second instead of five. */
async function holdLock(): Promise<{ release(): void; [Symbol.dispose](): void }> {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-locked-'))
  const { PATH = '' } = process.env
  const system = `${PATH}:/usr/local/sbin:/usr/sbin:/sbin`
  const lock = join(folder, 'lock')
  for (const name of ['iptables', 'ip6tables']
    .flatMap((one) => [one, `${one}-legacy`])
    .flatMap((one) => [one, `${one}-restore`])) {
    const patience = 'if [ "$1" = -w ]; then shift 2; set -- -w 1 "$@"; fi'
    const program = `#!/bin/sh\n${patience}\nPATH=${system} XTABLES_LOCKFILE=${lock} exec ${name} "$@"\n`
    writeFileSync(join(folder, name), program, { mode: 0o755 })
  }
  const holder = spawn('flock', [lock, 'sh', '-c', 'echo; read line'], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(holder.stdout, 'data')
  process.env['PATH'] = `${folder}:${PATH}`
  return {
    release: () => holder.stdin.end(),
    [Symbol.dispose]: () => {
      process.env['PATH'] = PATH
      holder.kill()
      rmSync(folder, { recursive: true })
    },
  }
}

test('what another mode has left goes once nobody holds the lock of the tables any more', async () => {
  putService()
  putEndpoints(['a'])
  await (await start({ iptablesVariant: 'legacy' })).close()
  const left = async (): Promise<boolean> => (await world.host.run('iptables-legacy-save')).includes('KUBE-')
  using lock = await holdLock()
  await start({ mode: 'nftables', syncPeriodMs: 100 })
  await eventually(async () => expect(world.told).toContainEqual(expect.stringContaining('tables are locked')))
  expect(await left()).toBe(true)
  lock.release()
  await eventually(async () => expect(await left()).toBe(false))
  expect(world.told).toHaveLength(1)
})

test('who holds the lock of the tables at the start only delays that packets are counted', async () => {
  using lock = await holdLock()
  putService({ type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] })
  putEndpoints(['a'])
  const told: string[] = []
  const tell = (_: object, message: string): void => {
    told.push(message)
    if (message.includes('count')) lock.release()
  }
  const log = { error: tell, warn: tell, info: tell, debug: () => {} }
  const metricsBindAddress = `${hostIP}:10249`
  await start({ metricsBindAddress, iptablesVariant: 'legacy', log })
  expect(told).toContain('the tables are locked: packets are not counted yet')
  await world.host.ask('host', 'tcp', '127.0.0.1:30080', 2)
  const { body } = await world.host.get(`http://${metricsBindAddress}/metrics`)
  expect(body).toMatch(/^kubeproxy_iptables_localhost_nodeports_accepted_packets_total 2$/m)
  // Nor is any family left out for that.
  expect(await world.host.run('ip6tables-legacy-save')).toContain('-A PREROUTING -m comment')
})

test('connection tracking is set as configured; what the kernel refuses is told once', async () => {
  const sysctl = async (name: string) =>
    Number(await world.host.run('cat', `/proc/sys/net/netfilter/nf_conntrack_${name}`))
  const before = await sysctl('udp_timeout')
  const most = Math.floor((2 ** 31 - 1) / 1000)
  const conntrack = {
    ...usualConntrack,
    tcpEstablishedSeconds: 7 * 24 * 3600,
    tcpCloseWaitSeconds: 2 ** 40,
    tcpBeLiberal: true,
    udpStreamSeconds: 77,
  }
  await start({ conntrack })
  expect(await sysctl('tcp_timeout_established')).toBe(7 * 24 * 3600)
  expect(await sysctl('tcp_timeout_close_wait')).toBe(most)
  expect([await sysctl('tcp_be_liberal'), await sysctl('udp_timeout_stream')]).toEqual([1, 77])
  expect(await sysctl('udp_timeout')).toBe(before)
  // So packets of unknown connections are let through.
  expect(await world.host.rules()).not.toContain('--ctstate INVALID')
  expect(world.told).toEqual([])
  await world.proxier?.cleanup()
  await start({ conntrack: { ...usualConntrack, udpSeconds: 0.5, udpStreamSeconds: 1.5 } })
  expect(world.told).toEqual([expect.stringMatching(/refused settings of connection tracking.*udp_timeout.*_stream/)])
  expect(await sysctl('tcp_timeout_established')).toBe(24 * 3600)
  // False asks for nothing: what somebody has made liberal stays so, and the rules go by it.
  expect(usualConntrack.tcpBeLiberal).toBe(false)
  expect(await sysctl('tcp_be_liberal')).toBe(1)
  expect(await world.host.rules()).not.toContain('--ctstate INVALID')
  await world.host.run('sh', '-c', 'echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal')
})

test('a server that cannot listen ends the proxy where that is wanted, and is told of on the Node', async () => {
  await world.host.serve('host', 8090)
  const failed = Promise.withResolvers<Error>()
  await start({ healthzBindAddress: '0.0.0.0:8090', bindAddressHardFail: true, failed: failed.resolve })
  const { message } = await failed.promise
  expect(message).toMatch(/^failed to start proxier healthz on 0\.0\.0\.0:8090: listen EADDRINUSE/)
  await eventually(async () =>
    expect(eventsOf(world.server.seen)).toContainEqual(
      expect.objectContaining({ reason: 'FailedToStartProxierHealthcheck', type: 'Warning', note: message }),
    ),
  )
  world.host.stopServing('host')
})

test('the Node says where it is; pods that get other addresses end a proxy that goes by them', async () => {
  const log = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} }
  const read = () => readOwnNode({ client: world.client, nodeName: 'node', needsIPs: true, needsPodCIDRs: true, log })
  const reading = read()
  const node = (podCIDRs: string[]): Node => ({
    metadata: { name: 'node' },
    spec: { podCIDRs },
    status: {
      addresses: [
        { type: 'Hostname', address: 'node' },
        { type: 'ExternalIP', address: '203.0.113.1' },
        { type: 'InternalIP', address: '192.0.2.1' },
        { type: 'InternalIP', address: '192.0.2.2' },
        { type: 'ExternalIP', address: '2001:db8::1' },
      ],
    },
  })
  world.server.put('/api/v1/nodes/node', node([]))
  world.server.put('/api/v1/nodes/node', node(['10.99.0.0/16']))
  expect(await reading).toEqual({ nodeIPs: ['192.0.2.1', '2001:db8::1'], podCIDRs: ['10.99.0.0/16'] })
  const ended = AbortSignal.abort(new Error('enough'))
  await expect(
    readOwnNode({ client: world.client, nodeName: 'none', needsIPs: true, needsPodCIDRs: false, signal: ended, log }),
  ).rejects.toThrow('enough')
  const failed = Promise.withResolvers<Error>()
  await start({ localTraffic: { mode: 'NodeCIDR', cidrs: ['10.99.0.0/16'] }, failed: failed.resolve })
  world.server.put('/api/v1/nodes/node', node(['10.98.0.0/16']))
  expect((await failed.promise).message).toBe(
    'the podCIDRs of Node node were [10.99.0.0/16] and are [10.98.0.0/16] now',
  )
})

test.each(['0.0.0.0', '10256', 'localhost:10256', '[1.2.3.4]:80', '::1:80', '1.2.3.4:0', '1.2.3.4:70000'])(
  'a health server on %j is refused',
  async (healthzBindAddress) => {
    await expect(start({ healthzBindAddress })).rejects.toThrow(
      `healthzBindAddress: "${healthzBindAddress}" is no address`,
    )
  },
)

test('Services of another proxy are not ours', async () => {
  world.server.put('/api/v1/namespaces/shop/services/other', {
    metadata: { name: 'other', namespace: 'shop', labels: { 'service.kubernetes.io/service-proxy-name': '' } },
    spec: { clusterIP: '10.96.0.77', ports: [{ port: 80 }] },
  } as Service)
  putService()
  await start()
  expect(await world.host.rules()).toContain('10.96.0.10')
  expect(await world.host.rules()).not.toContain('10.96.0.77')
})

describe('the two variants of iptables', () => {
  const mentions = async (variant: 'nft' | 'legacy'): Promise<number> => {
    const saved = `${await world.host.run(`iptables-${variant}-save`)}${await world.host.run(`ip6tables-${variant}-save`)}`
    return saved.split('KUBE-').length - 1
  }
  const other = { nft: 'legacy', legacy: 'nft' } as const
  const variants = ['legacy', 'nft'] as const
  const usual = async (): Promise<string> =>
    (await world.host.run('iptables', '--version')).includes('(nf_tables)') ? 'nft' : 'legacy'

  test('each can be asked for; a switch leaves nothing in the old one, nor does cleaning up', async () => {
    putService()
    putEndpoints(['a'])
    for (const variant of [...variants, 'legacy'] as const) {
      const proxier = await start({ iptablesVariant: variant })
      expect(await world.host.ask('client', 'tcp', `${clusterIP}:80`, 1)).toEqual(['a'])
      expect([await mentions(variant), await mentions(other[variant])]).toEqual([expect.toSatisfy(Boolean), 0])
      await proxier.close()
    }
    await removeNodeRules({ netns: world.host.netns })
    await (await start({ iptablesVariant: 'legacy' })).cleanup()
    expect([await mentions('nft'), await mentions('legacy')]).toEqual([0, 0])
    await expect(start({ iptablesVariant: 'both' as 'nft' })).rejects.toThrow('iptablesVariant: "both" is none')
  })

  test('nftables mode leaves nothing in either', async () => {
    putService()
    for (const variant of variants) await (await start({ iptablesVariant: variant })).close()
    await start({ mode: 'nftables' })
    expect([await mentions('nft'), await mentions('legacy')]).toEqual([0, 0])
    await world.proxier?.cleanup()
  })

  test.each(variants)(
    'rules go to %s where a kubelet has its chains, or others have more of theirs',
    async (variant) => {
      putService()
      const run = async (...args: string[]): Promise<string> => world.host.run(`iptables-${variant}`, ...args)
      const used = async (): Promise<boolean[]> => {
        await start()
        const found = await Promise.all(variants.map(async (each) => (await mentions(each)) > 10))
        await world.proxier?.cleanup()
        return found
      }
      const only = (one: string): boolean[] => variants.map((each) => each === one)
      // Whatever tests before have left.
      for (const each of variants) await world.host.run(`iptables-${each}`, '-t', 'nat', '-F')
      for (const each of variants) await world.host.run(`iptables-${each}`, '-F')
      await run('-t', 'mangle', '-N', 'KUBE-IPTABLES-HINT')
      expect(await used()).toEqual(only(variant))
      await run('-t', 'mangle', '-X', 'KUBE-IPTABLES-HINT')
      await run('-A', 'INPUT', '-s', '203.0.113.7', '-j', 'DROP')
      expect(await used()).toEqual(only(variant))
      await run('-F', 'INPUT')
      expect(await used()).toEqual(only(await usual()))
    },
  )
})
