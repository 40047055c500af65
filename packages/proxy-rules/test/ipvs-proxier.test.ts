// The proxy in IPVS mode: virtual servers, sets and rules in a kernel that has IPVS, and packets. In ipvs-guest.test.ts' guest.
import { createServer, type Socket } from 'node:net'
import type { ServiceSpec } from 'kubernetes-types/core/v1.d.ts'
import { openNetlink, tcpSocket, type Netlink, type VirtualServerKey } from '@nodelet/linux'
import { removeNodeRules } from '@nodelet/proxy-rules'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { removeIpvsOf } from '../src/apply/ipvs-cleanup.ts'
import { inNetns } from '../src/apply/program.ts'
import { openArp } from './arp.ts'
import { clusterIP, useProxier } from './proxier-world.ts'
import { hostIP, podIPs, podIPv6s, type Pod } from './small-host.ts'

const externalIP = '203.0.113.10'
const nodePort: Partial<ServiceSpec> = { type: 'NodePort', ports: [{ port: 80, nodePort: 30_080 }] }
const web: VirtualServerKey = { protocol: 'tcp', address: clusterIP, port: 80 }
const dns: VirtualServerKey = { protocol: 'udp', address: '10.96.0.11', port: 80 }
/** The guest is slow. */
const eventually = (look: () => Promise<void>): Promise<void> => vi.waitFor(look, { timeout: 60_000, interval: 300 })

describe.skipIf(!process.env['UML'])('in a kernel with IPVS', () => {
  const world = useProxier({ mode: 'ipvs', iptablesVariant: 'legacy', ipvs: { terminationPeriodMs: 300 } })
  const { start, putService, putEndpoints } = world
  let netlink: Netlink
  beforeAll(() => void (netlink = openNetlink({ netns: world.host.netns })))
  afterAll(() => netlink?.[Symbol.dispose]())

  const connect = (from: Pod | 'host', host: string, port: number): Socket =>
    tcpSocket(host.includes(':') ? 'IPv6' : 'IPv4', world.host.netnsOf(from)).connect({ host, port })
  /** What a connection is answered, or its error code. */
  const ask = async (from: Pod | 'host', host: string, port = 80): Promise<string> => {
    const { promise, resolve } = Promise.withResolvers<string>()
    const socket = connect(from, host, port).setTimeout(2000)
    let text = ''
    socket.on('data', (chunk) => (text += String(chunk))).on('end', () => resolve(text))
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''))
    socket.on('timeout', () => resolve('TIMEOUT'))
    const answer = await promise
    socket.destroy()
    return answer
  }
  const servers = async (): Promise<string[]> =>
    (await netlink.ipvs.list()).map(({ protocol, address, port }) => `${protocol} ${address} ${port}`).toSorted()
  const weights = async (of: VirtualServerKey): Promise<Record<string, number>> => {
    const [found = []] = await netlink.ipvs.realServers([of])
    return Object.fromEntries(found.map(({ address, weight }) => [address, weight]))
  }
  const held = async (): Promise<string[]> =>
    (await netlink.addresses.list({ link: 'kube-ipvs0' })).map(({ address }) => address).toSorted()
  /** For which addresses the host answers its neighbour, and in whose name it asks for it on behalf of the Service. */
  const arp = async (): Promise<{ answers: string[]; asks: string }> => {
    const [own, gateway] = [podIPs.client, podIPs.client.replace(/2$/, '1')]
    using frames = await openArp(world.host.netnsOf('client'), 'eth0', own)
    const answers = await frames.ask(clusterIP, gateway)
    for (const known of await netlink.neighbours.list({ link: 'pod-client', family: 4 }))
      await netlink.neighbours.delete(known)
    const asks = frames.nextSender()
    const socket = tcpSocket('IPv4', world.host.netns).on('error', () => {})
    socket.connect({ host: own, port: 1, localAddress: clusterIP })
    try {
      return { answers, asks: await asks }
    } finally {
      socket.destroy()
    }
  }
  const entries = async (set: string): Promise<string[]> => (await netlink.ipsets.get(set))?.entries.toSorted() ?? []

  test('servers, addresses and sets are what Services ask for, as they come and go', async () => {
    putService({ ...nodePort, externalIPs: [externalIP, hostIP] })
    putEndpoints(['a', 'b'])
    putService({ clusterIP: '10.96.0.11', sessionAffinity: 'ClientIP' }, 'dns', 'UDP')
    putEndpoints(['a'], 'dns', 'UDP')
    await start()
    const nodeAddresses = [hostIP, '10.99.1.1', '10.99.2.1', '10.99.3.1']
    const fronts = [
      ...[clusterIP, externalIP, hostIP].map((address) => `${address} 80`),
      ...nodeAddresses.map((own) => `${own} 30080`),
    ]
    expect(await servers()).toEqual(['udp 10.96.0.11 80', ...fronts.map((front) => `tcp ${front}`)].toSorted())
    expect(await netlink.ipvs.get(dns)).toMatchObject({ persistent: { seconds: 10_800, prefixLength: 32 } })
    // The node's own address is not put on the device.
    expect(await held()).toEqual(['10.96.0.10/32', '10.96.0.11/32', `${externalIP}/32`])
    expect(await netlink.links.get('kube-ipvs0')).toMatchObject({ kind: 'dummy', up: false })
    expect(await entries('KUBE-CLUSTER-IP')).toEqual(['10.96.0.10,tcp:80', '10.96.0.11,udp:80'])
    expect(await entries('KUBE-NODE-PORT-TCP')).toEqual(['30080'])
    expect([await ask('client', clusterIP), await ask('client', clusterIP)].toSorted()).toEqual(['a', 'b'])
    expect(world.told).toEqual([expect.stringContaining('deprecated')])
    expect(await arp()).toEqual({ answers: [clusterIP, '10.99.3.1'], asks: clusterIP })

    putEndpoints(['b'], 'dns', 'UDP')
    await eventually(async () => expect(await weights(dns)).toEqual({ [podIPs.b]: 1 }))
    world.server.remove('/api/v1/namespaces/shop/services/dns')
    putService()
    putEndpoints([])
    await eventually(async () => expect(await held()).toEqual(['10.96.0.10/32']))
    // Connections that have just ended still count.
    await eventually(async () => expect(await weights(web)).toEqual({ [podIPs.a]: 0, [podIPs.b]: 0 }))
    expect(await servers()).toEqual([`tcp ${clusterIP} 80`])
    expect(await entries('KUBE-CLUSTER-IP')).toEqual(['10.96.0.10,tcp:80'])
    expect(await entries('KUBE-NODE-PORT-TCP')).toEqual([])
    expect(world.told).toHaveLength(1)
  })

  test('a load balancer address that no device can have keeps no other Service from being loaded', async () => {
    const families = { ipFamilies: ['IPv4', 'IPv6'], type: 'LoadBalancer' }
    const odd = ['127.0.0.1', '0.0.0.0', '224.0.0.251', '255.255.255.255', '::1', '::', 'ff02::fb']
    putService({ ...families, clusterIP: '10.96.0.11', clusterIPs: ['10.96.0.11', 'fd96::11'] }, 'odd', 'TCP', odd)
    putService({ ...families, clusterIPs: [clusterIP, 'fd96::10'] })
    putEndpoints(['a'])
    const own = createServer((socket) => socket.end('own'))
    inNetns(world.host.netns, () => own.listen(8082))
    await start()
    expect(await ask('client', clusterIP)).toBe('a')
    expect(await held()).toEqual(['10.96.0.10/32', '10.96.0.11/32', 'fd96::10/128', 'fd96::11/128'])
    expect(await ask('host', '127.0.0.1', 8082)).toBe('own')
    expect(world.told).toEqual([expect.stringContaining('deprecated')])
    own.close()
  })

  test('a real server with an open connection goes when that ends; one that comes back serves again', async () => {
    const echo = createServer((socket) => socket.pipe(socket).on('error', () => {}))
    inNetns(world.host.netnsOf('a'), () => echo.listen(8081))
    putService({ ports: [{ port: 80 }] })
    const putSlice = (pods: readonly Pod[]): void =>
      world.server.put('/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/web-1', {
        metadata: { name: 'web-1', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'web' } },
        addressType: 'IPv4',
        endpoints: pods.map((pod) => ({ addresses: [podIPs[pod]] })),
        ports: [{ name: '', port: 8081 }],
      } as object)
    putSlice(['a'])
    const first = await start()
    const socket = connect('client', clusterIP, 80)
    const said = (text: string): Promise<string> => {
      const { promise, resolve, reject } = Promise.withResolvers<string>()
      socket.once('data', (chunk) => resolve(String(chunk))).once('error', reject)
      socket.write(text)
      return promise
    }
    expect(await said('one')).toBe('one')
    putSlice(['b'])
    await eventually(async () => expect(await weights(web)).toEqual({ [podIPs.a]: 0, [podIPs.b]: 1 }))
    expect(await said('two')).toBe('two')
    putSlice(['a', 'b'])
    await eventually(async () => expect(await weights(web)).toEqual({ [podIPs.a]: 1, [podIPs.b]: 1 }))
    putSlice(['b'])
    await eventually(async () => expect(await weights(web)).toEqual({ [podIPs.a]: 0, [podIPs.b]: 1 }))
    // What another process left waiting is found again.
    await first.close()
    await start()
    expect(await weights(web)).toEqual({ [podIPs.a]: 0, [podIPs.b]: 1 })
    expect(await said('three')).toBe('three')
    socket.resetAndDestroy()
    await eventually(async () => expect(await weights(web)).toEqual({ [podIPs.b]: 1 }))
    echo.close()
    world.server.remove('/api/v1/namespaces/shop/services/web')
    await eventually(async () => expect(await servers()).toEqual([]))
  })

  test('the start takes over what is there, leaves what is excluded; what somebody takes away comes back', async () => {
    putService(nodePort)
    putEndpoints(['a', 'b'])
    const weighted = { scheduler: 'wrr', strictARP: true, excludeCIDRs: ['10.97.0.0/16'], tcpTimeoutSeconds: 1000 }
    const first = await start({ ipvs: { scheduler: 'mh' } })
    expect(await netlink.ipvs.get(web)).toMatchObject({ scheduler: 'mh', sourcePort: true })
    await first.close()
    const stray = { ...web, scheduler: 'rr', port: 81 }
    await netlink.ipvs.change([
      { kind: 'addVirtualServer', server: stray },
      { kind: 'addVirtualServer', server: { ...stray, address: '10.97.0.1' } },
      { kind: 'setRealServer', of: web, server: { address: podIPs.a, port: 8080, weight: 7 } },
      { kind: 'addRealServer', of: web, server: { address: '10.99.1.99', port: 8080 } },
      { kind: 'deleteRealServer', of: web, server: { address: podIPs.b, port: 8080 } },
    ])
    await netlink.addresses.add('kube-ipvs0', '10.96.9.9/32')
    const set = { name: 'KUBE-CLUSTER-IP', type: 'hash:ip,port', family: 4 } as const
    await netlink.ipsets.change([{ set, add: ['10.96.9.9,tcp:1'], delete: ['10.96.0.10,tcp:80'] }])
    await start({ ipvs: weighted, syncPeriodMs: 1000 })
    const isRight = async (): Promise<void> => {
      expect(await servers()).toContain('tcp 10.97.0.1 81')
      expect(await servers()).not.toContain(`tcp ${clusterIP} 81`)
      expect(await netlink.ipvs.get(web)).toEqual({ ...web, scheduler: 'wrr' })
      expect(await weights(web)).toEqual({ [podIPs.a]: 1, [podIPs.b]: 1 })
      expect(await held()).toEqual(['10.96.0.10/32'])
      expect(await entries('KUBE-CLUSTER-IP')).toEqual(['10.96.0.10,tcp:80'])
      expect(await world.host.run('iptables-save', '-t', 'nat')).toMatch(/-A PREROUTING .* -j KUBE-SERVICES/)
    }
    await isRight()
    expect(await netlink.ipvs.timeouts()).toMatchObject({ tcpSeconds: 1000, udpSeconds: 300 })
    // Whoever else has the Service's address, as load balancers have it, is not disturbed.
    expect(await arp()).toEqual({ answers: ['10.99.3.1'], asks: '10.99.3.1' })
    const foreign = { kind: 'addVirtualServer', server: { ...stray, address: '10.97.0.1' } } as const
    await world.host.run('iptables', '-t', 'nat', '-F')
    await eventually(isRight)
    await netlink.ipvs.flush()
    await netlink.ipvs.change([foreign])
    await netlink.links.delete('kube-ipvs0')
    await eventually(isRight)
    // Nothing is missing, but it is otherwise.
    await netlink.ipvs.change([
      { kind: 'addVirtualServer', server: stray },
      { kind: 'setRealServer', of: web, server: { address: podIPs.a, port: 8080, weight: 0 } },
      { kind: 'deleteRealServer', of: web, server: { address: podIPs.b, port: 8080 } },
      { kind: 'addRealServer', of: web, server: { address: '10.99.1.99', port: 8080 } },
      { kind: 'setVirtualServer', server: { ...web, scheduler: 'rr' } },
    ])
    await eventually(isRight)
    await netlink.ipsets.change([{ set, add: ['10.96.9.9,tcp:1'], delete: ['10.96.0.10,tcp:80'] }])
    await eventually(isRight)
    await netlink.addresses.change('kube-ipvs0', { add: ['10.96.9.9/32'], delete: ['10.96.0.10/32'] })
    await eventually(isRight)
    const chain = ['-t', 'nat', '-S', 'KUBE-SERVICES']
    const rules = await world.host.run('iptables', ...chain)
    await world.host.run('iptables', '-t', 'nat', '-R', 'KUBE-SERVICES', '1', '-s', '192.0.2.9/32', '-j', 'RETURN')
    expect(await world.host.run('iptables', ...chain)).not.toBe(rules)
    await eventually(async () => expect(await world.host.run('iptables', ...chain)).toBe(rules))
    expect(world.told.filter((line) => line.startsWith('somebody has flushed or changed the rules'))).not.toEqual([])
    // A new address of the node answers on node ports, too.
    await world.host.run('ip', 'addr', 'add', '192.0.2.77/24', 'dev', 'uplink')
    await eventually(async () => expect(await servers()).toContain('tcp 192.0.2.77 30080'))
    await world.host.run('ip', 'addr', 'del', '192.0.2.77/24', 'dev', 'uplink')
    await eventually(async () => expect(await servers()).not.toContain('tcp 192.0.2.77 30080'))
  })

  test('both families may go at the same time', async () => {
    for (let count = 0; count < 30; count += 1) {
      await netlink.links.add({ kind: 'dummy', name: 'kube-ipvs0' })
      const [one, other] = [openNetlink({ netns: world.host.netns }), openNetlink({ netns: world.host.netns })]
      try {
        await Promise.all([removeIpvsOf('IPv4', one), removeIpvsOf('IPv6', other)])
      } finally {
        for (const each of [one, other]) each[Symbol.dispose]()
      }
      expect(await netlink.links.get('kube-ipvs0')).toBeUndefined()
    }
  })

  test('modes follow each other, each removing what another left; all goes at the end', async () => {
    await netlink.ipvs.flush()
    putService({ clusterIPs: [clusterIP, 'fd96::10'], ipFamilies: ['IPv4', 'IPv6'], sessionAffinity: 'ClientIP' })
    putEndpoints(['a'])
    world.server.put('/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/web-6', {
      metadata: { name: 'web-6', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'web' } },
      addressType: 'IPv6',
      endpoints: [{ addresses: [podIPv6s.b], nodeName: 'node' }],
      ports: [{ name: '', port: 8080 }],
    } as object)
    const chains = async (pattern: RegExp): Promise<unknown> => (await world.host.rules()).match(pattern)
    const balanced = async (): Promise<string[]> => [await ask('client', clusterIP), await ask('client', 'fd96::10')]

    const tables = await start({ mode: 'iptables' })
    expect(await balanced()).toEqual(['a', 'b'])
    // This kernel has neither accounting objects nor the match.
    expect(world.told).toContainEqual(
      expect.stringMatching(/^rules cannot count packets here.*EINVAL: create accounting/),
    )
    await tables.close()
    const ours = await start()
    expect(await balanced()).toEqual(['a', 'b'])
    expect(await servers()).toEqual([`tcp ${clusterIP} 80`, 'tcp fd96::10 80'])
    expect(await chains(/KUBE-(SVC|SEP|EXTERNAL-SERVICES|NODEPORTS|PROXY-CANARY)|load balancer firewall/)).toBeNull()
    await ours.close()
    await start({ mode: 'iptables' })
    expect(await balanced()).toEqual(['a', 'b'])
    expect(await servers()).toEqual([])
    expect(await netlink.ipsets.list()).toEqual([])
    expect(await netlink.links.get('kube-ipvs0')).toBeUndefined()
    expect(await chains(/KUBE-(IPVS|LOAD-BALANCER|NODE-PORT\b|SOURCE-RANGES)|kube-proxy firewall rules/)).toBeNull()
    await world.proxier?.cleanup()

    const last = await start()
    await last.close()
    await removeNodeRules({ netns: world.host.netns })
    expect(await world.host.rules()).not.toContain('KUBE-')
    expect(await servers()).toEqual([])
    expect(await netlink.ipsets.list()).toEqual([])
    expect(await netlink.links.get('kube-ipvs0')).toBeUndefined()
  })

  test('what the kernel cannot do is refused at the start', async () => {
    await expect(start({ ipvs: { scheduler: 'nosuch' } })).rejects.toThrow(
      'ipvs.scheduler: the kernel has no nosuch: load the module ip_vs_nosuch, or use rr',
    )
    await expect(start({ ipvs: { tcpTimeoutSeconds: -1 } })).rejects.toThrow('ipvs.tcpTimeoutSeconds: -1 is no number')
    await expect(start({ ipvs: { excludeCIDRs: ['10.0.0.0'] } })).rejects.toThrow('excludeCIDRs: "10.0.0.0" is no CIDR')
  })
})
