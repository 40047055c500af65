import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inNamespace } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { addressOf, ask, links, listOf, podNetwork, shown, useServers } from './reach.ts'

let machine: TestMachine
const serve = useServers()
const ipam = { type: 'host-local', subnet: '10.77.0.0/24', rangeStart: '10.77.0.10', gateway: '10.77.0.1' }

const use = (plugin: object): void => {
  const list = listOf({ type: 'macvlan', capabilities: { mac: true }, ...plugin })
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(list))
}

/** The machine's own eth0 leads to a router. */
let router: string
beforeEach(() => {
  machine = makeMachine({})
  router = machine.pod('router')
  const { host, run } = machine
  run(host, 'ip', 'link', 'add', 'name', 'eth0', 'mtu', '1450', 'type', 'veth', 'peer', 'name', 'lan', 'netns', router)
  run(host, 'ip', 'link', 'set', 'eth0', 'up')
  run(router, 'ip', 'link', 'set', 'lan', 'up')
  run(router, 'ip', 'addr', 'add', '10.77.0.1/24', 'dev', 'lan')
})
afterEach(() => machine[Symbol.dispose]())

interface Shown {
  mtu: number
  operstate: string
  flags: string[]
  address: string
  linkinfo: { info_kind: string; info_data: { mode: string; bcqueuelen: number } }
}
const eth0 = (netns: string): Shown | undefined => shown<Shown>(machine, netns, 'link', 'show', 'eth0')[0]
const held = (): string[] =>
  readdirSync(join(machine.folder, 'cache/networks/test')).filter((name) => /^[\d.]+$/.test(name))
const withDefaultRoute = (): void => {
  machine.run(machine.host, 'ip', 'addr', 'add', '10.77.0.9/24', 'dev', 'eth0')
  machine.run(machine.host, 'ip', 'route', 'add', 'default', 'via', '10.77.0.1')
}

test('two pods on the link of the default route reach each other and the network, and it them', async () => {
  withDefaultRoute()
  use({ ipam: { ...ipam, routes: [{ dst: '0.0.0.0/0' }] }, dns: { nameservers: ['10.77.0.1'] } })
  await machine.cni.status()
  const one = podNetwork(machine, 'one', { capabilityArgs: { mac: '02:00:00:00:00:AA' } })
  const two = podNetwork(machine, 'two', { args: { MAC: '02:00:00:00:00:bb' } })
  const [first, second] = [await machine.cni.add(one), await machine.cni.add(two)]
  expect(first).toMatchObject({
    interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:aa', sandbox: one.netns }],
    ips: [{ address: '10.77.0.10/24', gateway: '10.77.0.1', interface: 0 }],
    dns: { nameservers: ['10.77.0.1'] },
  })
  expect(second.interfaces[0]?.mac).toBe('02:00:00:00:00:bb')
  expect(eth0(one.netns)).toMatchObject({
    mtu: 1450,
    linkinfo: { info_kind: 'macvlan', info_data: { mode: 'bridge' } },
  })
  const sysctl = (name: string): string => inNamespace('net', one.netns, () => readFileSync(name, 'utf8').trim())
  expect(sysctl('/proc/sys/net/ipv4/conf/eth0/arp_notify')).toBe('1')
  expect(sysctl('/proc/sys/net/ipv6/conf/eth0/ndisc_notify')).toBe('1')

  for (const netns of [one.netns, two.netns, router]) await serve(netns, 80)
  expect(await ask(one.netns, addressOf(second), 80)).toBe(addressOf(first))
  expect(await ask(router, addressOf(second), 80)).toBe('10.77.0.1')
  expect(await ask(one.netns, '10.77.0.1', 80)).toBe(addressOf(first))

  await machine.cni.check(one)
  await machine.cni.del(one)
  await machine.cni.del(one)
  expect([links(machine, one.netns), links(machine, machine.host), held()]).toEqual([[], ['eth0'], ['10.77.0.11']])
})

test('private pods do not hear each other', async () => {
  use({ master: 'eth0', mode: 'private', mtu: 1400, bcqueuelen: 2000, mac: '', ipam })
  const [one, two] = [podNetwork(machine, 'one'), podNetwork(machine, 'two')]
  await machine.cni.add(one)
  const second = await machine.cni.add(two)
  expect(eth0(one.netns)).toMatchObject({ mtu: 1400, linkinfo: { info_data: { mode: 'private', bcqueuelen: 2000 } } })
  await serve(two.netns, 80)
  expect(await ask(one.netns, addressOf(second), 80)).toMatch(/nobody|EHOSTUNREACH/)
  expect(await ask(router, addressOf(second), 80)).toBe('10.77.0.1')
})

test('without IPAM the link is up and has no address', async () => {
  use({ master: 'eth0' })
  const one = podNetwork(machine, 'one')
  const result = await machine.cni.add(one)
  expect(result).toMatchObject({ interfaces: [{ name: 'eth0' }], ips: [], routes: [] })
  expect(eth0(one.netns)?.flags).toContain('UP')
  expect(machine.run(one.netns, 'ip', '-4', 'addr', 'show', 'eth0')).toBe('')
  await machine.cni.check(one)
})

test('the master may be in the pod', async () => {
  use({ master: 'net1', linkInContainer: true, ipam })
  await machine.cni.status()
  const one = podNetwork(machine, 'one')
  await expect(machine.cni.add(one)).rejects.toThrow('failed to lookup master "net1"')
  machine.run(machine.host, 'ip', 'link', 'set', 'eth0', 'netns', one.netns, 'name', 'net1', 'up')
  const first = await machine.cni.add(one)
  await serve(router, 80)
  expect(await ask(one.netns, '10.77.0.1', 80)).toBe(addressOf(first))
  await machine.cni.check(one)
  await machine.cni.del(one)
  expect(links(machine, one.netns)).toEqual(['net1'])
})

test('a link that has its master for itself makes way for the next, though its namespace goes', async () => {
  use({ master: 'eth0', mode: 'passthru' })
  const one = podNetwork(machine, 'one')
  await machine.cni.add(one)
  await expect(machine.cni.add(podNetwork(machine, 'two'))).rejects.toThrow(/^plugin type="macvlan" failed \(add\): E/)
  await machine.cni.del({ ...one, namespaceGoes: true })
  await machine.cni.add(podNetwork(machine, 'three'))
})

test.each<[object, string, code: number]>([
  [{ master: 'eth0', mtu: 1451 }, 'invalid MTU 1451, must be [0, master MTU(1450)]', 7],
  [{ master: 'eth0', mtu: 1.5 }, 'macvlan: mtu: ', 7],
  [{ master: 'eth0', mode: 'loud' }, 'macvlan: mode: unknown macvlan mode: "loud"', 7],
  [{ master: 'eth0', bcqueuelen: -1 }, 'macvlan: bcqueuelen: ', 7],
  [{ master: 'eth0', mac: 'zz' }, 'macvlan: mac: must be a MAC', 7],
  [{ master: 'eth1' }, 'failed to lookup master "eth1"', 50],
  [{}, 'no default route interface found', 50],
])('%j is refused', async (plugin, message, code) => {
  use({ ...plugin, ipam })
  const one = podNetwork(machine, 'one')
  await expect(machine.cni.add(one)).rejects.toMatchObject({
    code,
    message: expect.stringContaining(message) as string,
  })
  if (code === 50) await expect(machine.cni.status()).rejects.toMatchObject({ code })
  expect(links(machine, one.netns)).toEqual([])
})

test('an ADD that fails leaves nothing', async () => {
  use({ master: 'eth0', ipam: { ...ipam, rangeEnd: '10.77.0.10' } })
  const [one, two] = [podNetwork(machine, 'one'), podNetwork(machine, 'two')]
  machine.run(one.netns, 'ip', 'link', 'add', 'name', 'eth0', 'type', 'veth', 'peer', 'name', 'other')
  await expect(machine.cni.add(one)).rejects.toThrow('failed to rename macvlan to "eth0"')
  expect(links(machine, one.netns).filter((name) => name.startsWith('veth'))).toEqual([])
  await machine.cni.add(two)
  const three = podNetwork(machine, 'three')
  await expect(machine.cni.add(three)).rejects.toThrow('no IP addresses available')
  expect([links(machine, three.netns), held()]).toEqual([[], ['10.77.0.10']])
})

test.each<[what: string, spoil: (netns: string) => string[], message: string]>([
  [
    'another mode',
    (netns) => [netns, ...'ip link set eth0 type macvlan mode private'.split(' ')],
    'macvlan mode private',
  ],
  ['another MAC', (netns) => [netns, ...'ip link set eth0 address 02:00:00:00:00:09'.split(' ')], 'has the MAC 02:'],
  ['a lost address', (netns) => [netns, ...'ip addr flush dev eth0'.split(' ')], 'has no address 10.77.0.10/24'],
  ['a lost master', () => [machine.host, ...'ip link del eth0'.split(' ')], 'eth0 is not in'],
])('CHECK tells of %s', async (_, spoil, message) => {
  use({ master: 'eth0', ipam })
  const one = podNetwork(machine, 'one')
  await machine.cni.add(one)
  await machine.cni.check(one)
  const [netns = '', ...command] = spoil(one.netns)
  machine.run(netns, ...command)
  await expect(machine.cni.check(one)).rejects.toThrow(message)
})

test('CHECK tells of another link under the name of the master', async () => {
  use({ master: 'eth0', ipam })
  const one = podNetwork(machine, 'one')
  await machine.cni.add(one)
  machine.run(machine.host, 'ip', 'link', 'set', 'eth0', 'down')
  machine.run(machine.host, 'ip', 'link', 'set', 'eth0', 'name', 'old')
  machine.run(machine.host, 'ip', 'link', 'add', 'name', 'eth0', 'type', 'bridge')
  await expect(machine.cni.check(one)).rejects.toThrow('macvlan: eth0 is not on eth0')
})
