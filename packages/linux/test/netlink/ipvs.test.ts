// Virtual servers and real servers in a kernel that has IPVS.
import { existsSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { IpvsChange, NewRealServer, VirtualServer } from '../../src/index.ts'
import { openNetlink } from '../../src/index.ts'
import { makeNetworks } from './networks.ts'

/** Its module is loaded: in the guest it is. */
const hasIpvs = existsSync('/proc/net/ip_vs')
// guest.test.ts runs them where it is.
const inGuest = test.skipIf(!process.env.UML)

const web: VirtualServer = { protocol: 'tcp', address: '10.96.0.1', port: 80, scheduler: 'rr' }
const dns: VirtualServer = { protocol: 'udp', address: 'fd00::10', port: 53, scheduler: 'wlc' }

inGuest('virtual servers with all their settings are added, changed, read back and deleted', async () => {
  using net = makeNetworks()
  const { ipvs } = net.out
  expect(await ipvs.version()).toMatch(/^1\.\d+\.\d+$/)
  expect(await ipvs.list()).toEqual([])
  expect(await ipvs.get(web)).toBeUndefined()
  const servers: VirtualServer[] = [
    web,
    { ...dns, persistent: { seconds: 10_800, prefixLength: 64 } },
    { ...web, protocol: 'sctp', persistent: { seconds: 60, prefixLength: 24 } },
    { ...web, port: 81, scheduler: 'mh', sourcePort: true, fallback: true },
    { ...web, protocol: 'udp', onePacket: true },
  ]
  expect(await ipvs.change(servers.map((server) => ({ kind: 'addVirtualServer', server })))).toEqual([])
  const listed = await ipvs.list()
  expect(listed).toHaveLength(servers.length)
  expect(listed).toEqual(expect.arrayContaining(servers))
  expect(await ipvs.get(dns)).toEqual(servers[1])
  const changed = { ...web, scheduler: 'sh', persistent: { seconds: 7, prefixLength: 32 } }
  expect(await ipvs.change([{ kind: 'setVirtualServer', server: changed }])).toEqual([])
  expect(await ipvs.get(web)).toEqual(changed)
  expect(net.run('cat', '/proc/net/ip_vs')).toMatch(/TCP {2}0A600001:0050 sh +persistent \d+ FFFFFFFF/)
  expect(await ipvs.change([{ kind: 'setVirtualServer', server: web }])).toEqual([])
  expect(await ipvs.get(web)).toEqual(web)
  expect(await ipvs.change([{ kind: 'deleteVirtualServer', server: web }])).toEqual([])
  expect(await ipvs.list()).toHaveLength(servers.length - 1)
  await ipvs.flush()
  expect(await ipvs.list()).toEqual([])
  expect(await net.inside.ipvs.list()).toEqual([])
})

inGuest('real servers of both families, with weights, methods and thresholds', async () => {
  using net = makeNetworks()
  const { ipvs } = net.out
  // Without a table of local addresses the kernel takes none.
  await net.out.links.set('lo', { up: true })
  const real: NewRealServer = { address: '10.1.0.1', port: 8080 }
  const changes: IpvsChange[] = [
    { kind: 'addVirtualServer', server: web },
    { kind: 'addVirtualServer', server: dns },
    { kind: 'addRealServer', of: web, server: real },
    {
      kind: 'addRealServer',
      of: web,
      server: { ...real, port: 8081, weight: 0, upperThreshold: 9, lowerThreshold: 3 },
    },
    { kind: 'addRealServer', of: web, server: { address: '10.1.0.2', port: 80, weight: 5, forwarding: 'route' } },
    { kind: 'addRealServer', of: dns, server: { address: 'fd00::5', port: 5353 } },
  ]
  expect(await ipvs.change(changes)).toEqual([])
  const plain = { weight: 1, forwarding: 'masquerade', upperThreshold: 0, lowerThreshold: 0 }
  const none = { activeConnections: 0, inactiveConnections: 0, persistentConnections: 0 }
  const gone = { ...web, port: 99 }
  const [ofWeb = [], ...others] = await ipvs.realServers([web, dns, gone])
  expect(others).toEqual([[{ address: 'fd00::5', port: 5353, ...plain, ...none }], []])
  expect(ofWeb.toSorted((one, other) => one.port - other.port)).toEqual([
    { address: '10.1.0.2', port: 80, ...plain, weight: 5, forwarding: 'route', ...none },
    { ...real, ...plain, ...none },
    { ...real, port: 8081, ...plain, weight: 0, upperThreshold: 9, lowerThreshold: 3, ...none },
  ])
  expect(
    await ipvs.change([
      { kind: 'setRealServer', of: web, server: { ...real, weight: 7 } },
      { kind: 'deleteRealServer', of: web, server: { ...real, port: 8081 } },
      { kind: 'deleteRealServer', of: dns, server: { address: 'fd00::5', port: 5353 } },
    ]),
  ).toEqual([])
  const [after = [], afterDns] = await ipvs.realServers([web, dns])
  expect(after.map(({ port, weight }) => `${port} ${weight}`).toSorted()).toEqual(['80 5', '8080 7'])
  expect(afterDns).toEqual([])
})

inGuest('what is refused is told with its change; all others are done, also of many hundreds', async () => {
  using net = makeNetworks()
  const { ipvs } = net.out
  const real = { address: '10.1.0.1', port: 80 }
  const refused: IpvsChange[] = [
    { kind: 'addVirtualServer', server: { ...web, port: 9999, scheduler: 'nosuch' } },
    { kind: 'addVirtualServer', server: web },
    { kind: 'deleteVirtualServer', server: dns },
    { kind: 'addRealServer', of: dns, server: { address: 'fd00::1', port: 1 } },
    { kind: 'deleteRealServer', of: web, server: real },
    { kind: 'setRealServer', of: web, server: real },
  ]
  const servers = Array.from({ length: 500 }, (_, index) => ({ ...web, port: 1000 + index }))
  const many = servers.map((server): IpvsChange => ({ kind: 'addVirtualServer', server }))
  const add: IpvsChange = { kind: 'addVirtualServer', server: web }
  const changes = [add, ...refused.slice(0, 3), ...many, ...refused.slice(3)]
  const refusals = await ipvs.change(changes)
  expect(refusals.map(({ change }) => change)).toEqual(refused)
  expect(refusals.map(({ error }) => error.message)).toEqual([
    'ENOENT: add virtual server 10.96.0.1:9999/tcp with scheduler nosuch',
    'EEXIST: add virtual server 10.96.0.1:80/tcp with scheduler rr',
    'ESRCH: delete virtual server [fd00::10]:53/udp',
    'ESRCH: add real server [fd00::1]:1 of [fd00::10]:53/udp',
    'ENOENT: delete real server 10.1.0.1:80 of 10.96.0.1:80/tcp',
    'ENOENT: set real server 10.1.0.1:80 of 10.96.0.1:80/tcp',
  ])
  expect(await ipvs.list()).toHaveLength(501)
  // Hundreds of refusals, too, are all heard of.
  expect(await ipvs.change([...many, ...many])).toHaveLength(1000)
  expect(await ipvs.change(servers.map((server) => ({ kind: 'deleteVirtualServer', server })))).toEqual([])
  expect(await ipvs.list()).toHaveLength(1)
})

inGuest('every scheduler of the kernel can be chosen', async () => {
  using net = makeNetworks()
  const schedulers = ['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'sh', 'dh', 'sed', 'nq', 'mh', 'fo', 'ovf']
  const servers = schedulers.map((scheduler, index) => ({ ...web, port: 80 + index, scheduler }))
  expect(await net.out.ipvs.change(servers.map((server) => ({ kind: 'addVirtualServer', server })))).toEqual([])
  const listed = await net.out.ipvs.list()
  expect(listed.map(({ scheduler }) => scheduler).toSorted()).toEqual(schedulers.toSorted())
})

inGuest('time limits are read and set; what is 0 stays', async () => {
  using net = makeNetworks()
  const { ipvs } = net.out
  expect(await ipvs.timeouts()).toEqual({ tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 })
  await ipvs.setTimeouts({ tcpSeconds: 1000, udpSeconds: 20 })
  expect(await ipvs.timeouts()).toEqual({ tcpSeconds: 1000, tcpFinSeconds: 120, udpSeconds: 20 })
  await ipvs.setTimeouts({ tcpFinSeconds: 30 })
  expect(await ipvs.timeouts()).toEqual({ tcpSeconds: 1000, tcpFinSeconds: 30, udpSeconds: 20 })
  await expect(ipvs.setTimeouts({ udpSeconds: 0xffff_ffff })).rejects.toThrow(
    /^EINVAL: set timeouts of IPVS udpSeconds/,
  )
})

test.skipIf(hasIpvs)('without IPVS there is no version, and all else says what is missing', async () => {
  using netlink = openNetlink()
  await expect(netlink.ipvs.list()).rejects.toThrow(
    'ENOENT: find netlink family IPVS: the kernel has no IPVS, or its module ip_vs is not loaded',
  )
})
