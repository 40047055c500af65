// Plugins of links that not every kernel has.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inNamespace } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { definePlugin, standardPlugins } from '../src/index.ts'
import type { CniResult } from '../src/index.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { addressOf, ask, links, listOf, podNetwork, shown, useServers } from './reach.ts'

/** guest.test.ts runs them where they are. */
const inGuest = test.skipIf(!process.env['UML'])
/** What needs no such link is tested where that is faster. */
const outside = test.skipIf(process.env['UML'])
const serve = useServers()
const ipam = { type: 'host-local', subnet: '10.77.0.0/24', rangeStart: '10.77.0.10', gateway: '10.77.0.1' }

let machine: TestMachine
let router: string
/** The machine's eth0 leads to a router that has addresses on its link, and on VLAN 7 of it. */
beforeEach(() => {
  machine = makeMachine({})
  router = machine.pod('router')
  const { host, run } = machine
  run(host, 'ip', 'link', 'add', 'name', 'eth0', 'mtu', '1450', 'type', 'veth', 'peer', 'name', 'lan', 'netns', router)
  run(host, 'ip', 'link', 'set', 'eth0', 'up')
  run(router, 'ip', 'link', 'set', 'lan', 'up')
})
afterEach(() => machine[Symbol.dispose]())

const write = (list: object): void =>
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(list))
const use = (plugin: object): void => write(listOf(plugin))
const routerHas = (address: string, link = 'lan'): void =>
  void machine.run(router, 'ip', 'addr', 'add', address, 'dev', link)
const held = (): string[] =>
  readdirSync(join(machine.folder, 'cache/networks/test')).filter((name) => /^[\d.]+$/.test(name))

interface Shown {
  mtu: number
  linkinfo: { info_kind: string; info_data: { mode?: string; id?: number } }
}
const eth0 = (netns: string): Shown | undefined => shown<Shown>(machine, netns, 'link', 'show', 'eth0')[0]

inGuest('vlan: a pod is in its VLAN, and no other pod on this master', async () => {
  machine.run(router, 'ip', 'link', 'add', 'link', 'lan', 'name', 'lan.7', 'type', 'vlan', 'id', '7')
  machine.run(router, 'ip', 'link', 'set', 'lan.7', 'up')
  routerHas('10.77.0.1/24', 'lan.7')
  use({ type: 'vlan', master: 'eth0', vlanId: 7, ipam, dns: { search: ['example.net'] } })
  await machine.cni.status()
  const [one, two] = [podNetwork(machine, 'one'), podNetwork(machine, 'two')]
  const first = await machine.cni.add(one)
  expect(first).toMatchObject({
    interfaces: [{ name: 'eth0', sandbox: one.netns, mac: expect.any(String) as string }],
    ips: [{ address: '10.77.0.10/24', interface: 0 }],
    dns: { search: ['example.net'] },
  })
  expect(eth0(one.netns)).toMatchObject({ mtu: 1450, linkinfo: { info_kind: 'vlan', info_data: { id: 7 } } })
  await serve(router, 80)
  expect(await ask(one.netns, '10.77.0.1', 80)).toBe('10.77.0.10')
  await machine.cni.check(one)
  await expect(machine.cni.add(two)).rejects.toThrow(/EEXIST.*VLAN device already exists/)
  expect([links(machine, two.netns), held()]).toEqual([[], ['10.77.0.10']])

  await machine.cni.del({ ...one, namespaceGoes: true })
  await machine.cni.add(two)
  machine.run(two.netns, 'ip', 'link', 'set', 'eth0', 'mtu', '1300')
  await machine.cni.check(two)
  await machine.cni.del(two)
  use({ type: 'vlan', master: 'eth0', vlanId: 8, mtu: 1400, ipam })
  await machine.cni.add(two)
  await machine.cni.check(two)
  machine.run(two.netns, 'ip', 'link', 'set', 'eth0', 'mtu', '1300')
  await expect(machine.cni.check(two)).rejects.toThrow('vlan: eth0 has the MTU 1300, not 1400')
  await machine.cni.del(two)
  await machine.cni.del(two)
  expect([links(machine, two.netns), held()]).toEqual([[], []])
})

outside.each<[object, string]>([
  [{ type: 'vlan', vlanId: 7, ipam }, 'vlan: master: '],
  [{ type: 'vlan', master: 'eth0', vlanId: 4095, ipam }, 'vlan: vlanId: '],
  [{ type: 'vlan', master: 'eth0', vlanId: 7 }, 'vlan: ipam: '],
  [{ type: 'vlan', master: 'eth0', mtu: 1451, ipam }, 'invalid MTU 1451, must be [0, master MTU(1450)]'],
  [{ type: 'vlan', master: 'eth9', ipam }, 'failed to lookup master "eth9"'],
  [{ type: 'dummy' }, 'dummy: ipam: '],
  [{ type: 'ipvlan', master: 'eth0' }, 'ipvlan: ipam: missing'],
  [{ type: 'ipvlan', ipam }, 'no default route interface found'],
  [{ type: 'ipvlan', master: 'eth0', mode: 'l4', ipam }, 'ipvlan: mode: unknown ipvlan mode: "l4"'],
])('%j is refused', async (plugin, message) => {
  use(plugin)
  const one = podNetwork(machine, 'one')
  await expect(machine.cni.add(one)).rejects.toThrow(message)
  expect(links(machine, one.netns)).toEqual([])
})

inGuest('vlan: its master may be in the pod', async () => {
  use({ type: 'vlan', master: 'net1', vlanId: 7, linkInContainer: true, ipam })
  await machine.cni.status()
  const one = podNetwork(machine, 'one')
  machine.run(machine.host, 'ip', 'link', 'set', 'eth0', 'netns', one.netns, 'name', 'net1', 'up')
  await machine.cni.add(one)
  await machine.cni.check(one)
  await machine.cni.del(one)
  expect(links(machine, one.netns)).toEqual(['net1'])
})

inGuest('dummy: addresses that are only the pod’s', async () => {
  use({ type: 'dummy', ipam })
  await machine.cni.status()
  const one = podNetwork(machine, 'one')
  expect(await machine.cni.add(one)).toMatchObject({
    interfaces: [{ name: 'eth0', sandbox: one.netns }],
    ips: [{ address: '10.77.0.10/24', interface: 0 }],
  })
  expect(eth0(one.netns)?.linkinfo.info_kind).toBe('dummy')
  await serve(one.netns, 80)
  expect(await ask(one.netns, '10.77.0.10', 80)).toBe('10.77.0.10')
  await machine.cni.check(one)
  machine.run(one.netns, 'ip', 'link', 'set', 'eth0', 'down')
  machine.run(one.netns, 'ip', 'addr', 'flush', 'dev', 'eth0')
  await expect(machine.cni.check(one)).rejects.toThrow('dummy: eth0 has no address')
  await machine.cni.del(one)
  await machine.cni.del(one)
  expect([links(machine, one.netns), held()]).toEqual([[], []])
})

inGuest('ipvlan: pods of one master reach each other and the network, by one MAC', async () => {
  routerHas('10.77.0.1/24')
  use({ type: 'ipvlan', master: 'eth0', ipam })
  await machine.cni.status()
  const [one, two] = [podNetwork(machine, 'one'), podNetwork(machine, 'two')]
  const [first, second] = [await machine.cni.add(one), await machine.cni.add(two)]
  expect(first.interfaces).toEqual([{ ...second.interfaces[0], sandbox: one.netns }])
  expect(eth0(one.netns)).toMatchObject({ mtu: 1450, linkinfo: { info_kind: 'ipvlan', info_data: { mode: 'l2' } } })
  const sysctl = (name: string): string => inNamespace('net', one.netns, () => readFileSync(name, 'utf8').trim())
  expect(sysctl('/proc/sys/net/ipv4/conf/eth0/arp_notify')).toBe('1')
  expect(sysctl('/proc/sys/net/ipv6/conf/eth0/ndisc_notify')).toBe('1')
  for (const netns of [two.netns, router]) await serve(netns, 80)
  expect(await ask(one.netns, addressOf(second), 80)).toBe(addressOf(first))
  expect(await ask(one.netns, '10.77.0.1', 80)).toBe(addressOf(first))
  await machine.cni.check(one)
  machine.run(machine.host, 'ip', 'link', 'add', 'name', 'other', 'type', 'bridge')
  use({ type: 'ipvlan', master: 'eth0', mode: 'l3', ipam })
  // CHECK has the list of ADD; the next pod would have another mode, which the master has for all.
  await machine.cni.del(one)
  await machine.cni.del(two)
  await machine.cni.add(one)
  expect(eth0(one.netns)?.linkinfo.info_data.mode).toBe('l3')
  machine.run(one.netns, 'ip', 'link', 'set', 'eth0', 'type', 'ipvlan', 'mode', 'l3s')
  await expect(machine.cni.check(one)).rejects.toThrow('ipvlan mode l3s does not match expected value: l3')
  await machine.cni.del(one)
  expect([links(machine, one.netns), held()]).toEqual([[], []])
})

inGuest(
  'ipvlan: an address is another pod’s at once, though the namespace of the one before is still there',
  async () => {
    use({ type: 'ipvlan', master: 'eth0', ipam: { ...ipam, rangeEnd: '10.77.0.10' } })
    const [one, two] = [podNetwork(machine, 'one'), podNetwork(machine, 'two')]
    await machine.cni.add(one)
    await machine.cni.del({ ...one, namespaceGoes: true })
    expect(addressOf(await machine.cni.add(two))).toBe('10.77.0.10')
  },
)

/** A plugin that made an interface of the machine for the pod, with its address. */
const giver = (interfaces: CniResult['interfaces']) =>
  definePlugin({
    name: 'giver',
    config: () => ({}),
    add: async ({ cniVersion }) => ({
      cniVersion,
      interfaces,
      ips: [{ address: '10.77.0.42/24', gateway: '10.77.0.1' }],
      routes: [{ dst: '0.0.0.0/0' }],
      dns: {},
    }),
    async del() {},
  })

inGuest('ipvlan: after another plugin, on its interface and with its addresses', async () => {
  routerHas('10.77.0.1/24')
  write({ cniVersion: '1.1.0', name: 'test', plugins: [{ type: 'giver' }, { type: 'ipvlan' }] })
  const cni = machine.open({ plugins: [...standardPlugins, giver([{ name: 'eth0' }])] })
  await cni.status()
  const one = podNetwork(machine, 'one')
  expect(await cni.add(one)).toMatchObject({
    interfaces: [{ name: 'eth0', sandbox: one.netns }],
    ips: [{ address: '10.77.0.42/24', interface: 0 }],
  })
  await serve(router, 80)
  expect(await ask(one.netns, '10.77.0.1', 80)).toBe('10.77.0.42')
  await cni.check(one)
  await cni.del(one)
  expect(links(machine, one.netns)).toEqual([])

  const two = machine.open({ plugins: [...standardPlugins, giver([{ name: 'eth0' }, { name: 'eth1' }])] })
  await expect(two.add(podNetwork(machine, 'two'))).rejects.toThrow(
    'chained master failure. PrevResult lacks a single named interface',
  )
})

outside.each([
  [{ type: 'dummy', ipam }, 'dummy', 'CONFIG_DUMMY'],
  [{ type: 'vlan', master: 'eth0', ipam }, 'vlan', 'CONFIG_VLAN_8021Q'],
  [{ type: 'ipvlan', master: 'eth0', ipam }, 'ipvlan', 'CONFIG_IPVLAN'],
])('%j where the kernel lacks it names the feature', async (plugin, kind, option) => {
  use(plugin)
  const one = podNetwork(machine, 'one')
  await expect(machine.cni.add(one)).rejects.toMatchObject({
    code: 50,
    message: expect.stringContaining(`this machine's kernel lacks links of the kind ${kind} (${option})`) as string,
  })
})
