// The proxy in nftables mode: an API server, the kernel's table, and packets.
import { setTimeout as sleep } from 'node:timers/promises'
import type { ServiceSpec } from 'kubernetes-types/core/v1.d.ts'
import { removeNodeRules } from '@nodelet/proxy-rules'
import { describe, expect, test } from 'vitest'
import { clusterIP, eventually, useProxier } from './proxier-world.ts'
import { hostIP, podIPs, type Pod } from './small-host.ts'

const nodePort: Partial<ServiceSpec> = { type: 'NodePort', ports: [{ port: 80, nodePort: 30_080 }] }

describe.each(['compat', 'fast'] as const)('layout %s', (nftablesLayout) => {
  const world = useProxier({ mode: 'nftables', nftablesLayout })
  const { start, putService, putEndpoints } = world
  const ask = (from: Pod | 'host', address: string, times = 1): Promise<string[]> =>
    world.host.ask(from, 'tcp', address, times)
  const list = (...more: string[]): Promise<string> => world.host.run('nft', ...more)
  const table = (): Promise<string> => list('-s', 'list', 'table', 'ip', 'kube-proxy')
  const clusterAddress = `${clusterIP}:80`

  test('cluster IP and node port lead to all endpoints, from the host, from pods and to oneself', async () => {
    putService(nodePort)
    putEndpoints(['a', 'b'])
    await start()
    for (const from of ['host', 'client', 'a'] as const) {
      expect(new Set(await ask(from, clusterAddress, 24)), from).toEqual(new Set(['a', 'b']))
    }
    expect(new Set(await ask('client', `${hostIP}:30080`, 24))).toEqual(new Set(['a', 'b']))
    // Neither other ports of a cluster IP nor other addresses of the host.
    expect(await ask('client', `${clusterIP}:81`)).toEqual(['ECONNREFUSED'])
    expect(await ask('host', '127.0.0.1:30080')).toEqual(['ECONNREFUSED'])
    expect(world.told).toEqual([])
  })

  test('an endpoint changes: the table changes there and nowhere else', async () => {
    putService(nodePort)
    putService({ clusterIP: '10.96.0.11' }, 'other')
    putEndpoints(['a'])
    putEndpoints(['a', 'b'], 'other')
    await start()
    expect(await ask('a', clusterAddress, 2)).toEqual(['a', 'a'])
    const rest = async (): Promise<string[]> => {
      const blocks = (await list('-a', 'list', 'table', 'ip', 'kube-proxy')).split('\n\n')
      return blocks.filter((block) => !block.includes('shop/web/') && !block.includes('hairpin'))
    }
    const before = await rest()
    putEndpoints(['b'])
    await eventually(async () => expect(await ask('client', clusterAddress, 3)).toEqual(['b', 'b', 'b']))
    expect(await rest()).toEqual(before)
    expect(before.length).toBeGreaterThan(15)
    expect(world.told).toEqual([])
  })

  test('ServiceCIDRs are followed', async () => {
    await start()
    const put = (cidrs: readonly string[]): void =>
      world.server.put('/apis/networking.k8s.io/v1/servicecidrs/kubernetes', {
        metadata: { name: 'kubernetes' },
        spec: { cidrs },
      } as object)
    put(['10.96.0.0/16', 'fd96::/112'])
    await eventually(async () => expect(await table()).toContain('ip daddr 10.96.0.0/16 drop'))
    put(['10.98.0.0/16'])
    await eventually(async () => expect(await table()).toContain('ip daddr 10.98.0.0/16 drop'))
    expect(await table()).not.toContain('10.96.0.0/16')
  })

  test('what is not used any more is emptied, and deleted with a later change', async () => {
    putService({ sessionAffinity: 'ClientIP' })
    putEndpoints(['a', 'b'])
    await start()
    expect((await table()).match(/(chain endpoint|set affinity)-/g)).toHaveLength(4)
    putEndpoints(['b'])
    await eventually(async () => expect(await table()).not.toContain(`dnat to ${podIPs.a}`))
    expect((await table()).match(/(chain endpoint|set affinity)-/g)).toHaveLength(4)
    await sleep(1100)
    putService({ clusterIP: '10.96.0.11' }, 'other')
    await eventually(async () => expect((await table()).match(/(chain endpoint|set affinity)-/g)).toHaveLength(2))
    expect(world.told).toEqual([])
  })

  test('a client stays with its endpoint, also when the proxy starts again', async () => {
    putService({ sessionAffinity: 'ClientIP' })
    putEndpoints(['a', 'b'])
    const first = await start()
    const [answer = ''] = await ask('client', clusterAddress)
    expect(new Set(await ask('client', clusterAddress, 20))).toEqual(new Set([answer]))
    await first.close()
    expect(new Set(await ask('client', clusterAddress, 8))).toEqual(new Set([answer]))
    await start()
    expect(new Set(await ask('client', clusterAddress, 20))).toEqual(new Set([answer]))
    putEndpoints([answer === 'a' ? 'b' : 'a'])
    await eventually(async () => expect(await ask('client', clusterAddress)).not.toEqual([answer]))
  })

  test('the zone of the node and the Service of a slice may change', async () => {
    const putNode = (zone: string): void =>
      world.server.put('/api/v1/nodes/node', {
        metadata: { name: 'node', labels: { 'topology.kubernetes.io/zone': zone } },
      })
    const putZones = (service: string): void =>
      world.server.put('/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/zones', {
        metadata: { name: 'zones', namespace: 'shop', labels: { 'kubernetes.io/service-name': service } },
        addressType: 'IPv4',
        endpoints: (['a', 'b'] as const).map((pod) => ({
          addresses: [podIPs[pod]],
          hints: { forZones: [{ name: `zone-${pod}` }] },
        })),
        ports: [{ name: '', port: 8080 }],
      } as object)
    putNode('zone-a')
    putService()
    putService({ clusterIP: '10.96.0.11' }, 'other')
    putZones('web')
    await start()
    await eventually(async () => expect(await ask('client', clusterAddress, 6)).toEqual(Array(6).fill('a')))
    putNode('zone-b')
    await eventually(async () => expect(await ask('client', clusterAddress, 6)).toEqual(Array(6).fill('b')))
    putZones('other')
    await eventually(async () => expect(await ask('client', clusterAddress)).toEqual(['ECONNREFUSED']))
    expect(await ask('client', '10.96.0.11:80', 6)).toEqual(Array(6).fill('b'))
  })

  test('a second start adopts what is there, and nobody misses anything meanwhile', async () => {
    putService()
    putService({ clusterIP: '10.96.0.11' }, 'other')
    putEndpoints(['a', 'b'])
    putEndpoints(['a'], 'other')
    const first = await start()
    await first.close()
    world.server.remove('/api/v1/namespaces/shop/services/other')
    putEndpoints(['a'])
    const asking = ask('client', clusterAddress, 150)
    await start()
    expect(new Set(await asking).difference(new Set(['a', 'b']))).toEqual(new Set())
    expect(await ask('client', clusterAddress, 8)).toEqual(Array(8).fill('a'))
    const left = await table()
    expect(left).not.toContain('10.96.0.11')
    expect(left.match(/jump services/g)).toHaveLength(2)
  })

  test('what somebody flushed is loaded again; so is all after a transaction that failed', async () => {
    putService()
    putEndpoints(['a'])
    await start({ syncPeriodMs: 100 })
    await list('flush', 'table', 'ip', 'kube-proxy')
    await eventually(async () => expect(await ask('client', clusterAddress)).toEqual(['a']))
    expect(world.told).toEqual([expect.stringContaining('somebody has flushed or changed the rules')])
    await world.proxier?.close()
    await start()
    world.told.length = 0
    await list('delete', 'table', 'ip', 'kube-proxy')
    putEndpoints(['b'])
    await eventually(async () => expect(await ask('client', clusterAddress)).toEqual(['b']))
    expect(world.told).toEqual([expect.stringContaining('the rules could not be loaded: it is tried again')])
    expect(world.told[0]).toContain('nft failed with 1: ')
  })

  test('a table that does not fit is made anew', async () => {
    await list('add table ip kube-proxy; add set ip kube-proxy service-ips { type inet_service ; }')
    putService()
    putEndpoints(['a'])
    await start()
    expect(await ask('client', clusterAddress)).toEqual(['a'])
    expect(world.told).toEqual([expect.stringContaining('it is tried again')])
  })

  test('cleaning up leaves the tables of others', async () => {
    await list('add table ip mine; add chain ip mine kept')
    const before = await list('list', 'ruleset')
    putService(nodePort)
    putEndpoints(['a', 'b'])
    await start()
    expect(await list('list', 'ruleset')).toContain('table ip6 kube-proxy')
    await world.proxier?.cleanup()
    expect(await list('list', 'ruleset')).toBe(before)
    await world.proxier?.cleanup()
    await start()
    await world.proxier?.close()
    await removeNodeRules({ netns: world.host.netns })
    expect((await list('list', 'tables')).match(/kube-proxy/g)).toBeNull()
    await list('delete table ip mine')
  })

  test('the mode may change: nothing of the other one is left', async () => {
    putService(nodePort)
    putEndpoints(['a'])
    await (await start({ mode: 'iptables' })).close()
    expect(await world.host.rules()).toContain('KUBE-SVC-')
    await (await start()).close()
    expect(await world.host.rules()).not.toContain('KUBE-')
    expect(await ask('client', clusterAddress)).toEqual(['a'])
    await start({ mode: 'iptables' })
    expect(await list('list', 'tables')).not.toContain('kube-proxy')
    expect(await ask('client', clusterAddress)).toEqual(['a'])
    await expect(start({ mode: 'userspace' as 'iptables' })).rejects.toThrow('mode: "userspace" is none')
  })

  test('loopback addresses cannot have node ports: the log says so', async () => {
    putService({ ...nodePort, type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 30_999 })
    putEndpoints(['a'])
    await start({ nodePortAddresses: ['127.0.0.0/8', '192.0.2.0/24'] })
    expect(world.told).toEqual([expect.stringContaining('node ports never answer on loopback')])
    expect(await ask('client', `${hostIP}:30080`)).toEqual(['a'])
    // Health checks do.
    expect((await world.host.get('http://127.0.0.1:30999/')).status).toBe(200)
  })
})
