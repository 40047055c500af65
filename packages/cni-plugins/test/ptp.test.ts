import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { unpinNamespace } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { planPoints } from '../src/plugins/ptp/plan.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { addressOf, ask, links, listOf, podNetwork, shown, useServers } from './reach.ts'

let machine: TestMachine
const serve = useServers()

const ipam = (more: object = {}): object => ({
  type: 'host-local',
  ranges: [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd77::/112' }]],
  routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  ...more,
})
const only4 = { ranges: [[{ subnet: '10.77.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] }
const use = (plugin: object): void =>
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(listOf({ type: 'ptp', ...plugin })))

beforeEach(() => {
  machine = makeMachine(listOf({ type: 'ptp', mtu: 1400, ipMasq: true, ipam: ipam() }))
})
afterEach(() => machine[Symbol.dispose]())

const held = (): string[] =>
  readdirSync(join(machine.folder, 'cache/networks/test')).filter((name) => /^[\d.]+$|:/.test(name))
const rules = (): string[] =>
  ['iptables-save', 'ip6tables-save'].flatMap((program) =>
    machine
      .run(machine.host, program, '-t', 'nat')
      .split('\n')
      .filter((line) => line.includes('id: ')),
  )

/** A machine beyond this one that has no way back to pods. */
function makeWorld(): string {
  const world = machine.pod('world')
  const { host, run } = machine
  run(host, 'ip', 'link', 'add', 'name', 'out0', 'type', 'veth', 'peer', 'name', 'in0', 'netns', world)
  run(host, 'ip', 'addr', 'add', '192.0.2.1/24', 'dev', 'out0')
  run(host, 'ip', 'link', 'set', 'out0', 'up')
  run(world, 'ip', 'addr', 'add', '192.0.2.2/24', 'dev', 'in0')
  run(world, 'ip', 'link', 'set', 'in0', 'up')
  return world
}

test('pods reach each other by way of the machine, and the world by its address', async () => {
  await machine.cni.status()
  const world = makeWorld()
  const [one, two] = [podNetwork(machine, 'one'), podNetwork(machine, 'two')]
  const [first, second] = [await machine.cni.add(one), await machine.cni.add(two)]
  expect(first.interfaces).toMatchObject([
    { name: expect.stringMatching(/^veth[0-9a-f]{8}$/), mac: expect.any(String) },
    { name: 'eth0', sandbox: one.netns, mac: expect.any(String) },
  ])
  expect(first.ips[0]).toEqual({ address: '10.77.0.2/24', gateway: '10.77.0.1', interface: 1 })

  await serve(two.netns, 80)
  for (const family of [4, 6] as const) {
    expect(await ask(one.netns, addressOf(second, family), 80)).toBe(addressOf(first, family))
  }
  expect(machine.run(one.netns, 'ip', 'route', 'get', addressOf(second))).toContain('via 10.77.0.1 dev eth0')
  expect(await ask(machine.host, addressOf(second), 80)).toBe('10.77.0.1')
  await serve(world, 81)
  expect(await ask(one.netns, '192.0.2.2', 81)).toBe('192.0.2.1')
  for (const netns of [one.netns, machine.host]) {
    const veths = shown<{ ifname: string; mtu: number }>(machine, netns, 'link', 'show', 'type', 'veth')
    expect(veths.filter(({ ifname }) => /^(veth|eth)/.test(ifname)).map(({ mtu }) => mtu)).toContain(1400)
  }

  await machine.cni.check(one)
  await machine.cni.del(one)
  await machine.cni.del(one)
  await machine.cni.del(two)
  expect([links(machine, machine.host), held(), rules()]).toEqual([['out0'], [], []])
})

test('DEL works when the namespace goes right after, and when it is gone', async () => {
  use({ ipMasq: true, ipam: ipam(only4) })
  const [one, two] = [podNetwork(machine, 'one'), podNetwork(machine, 'two')]
  for (const pod of [one, two]) await machine.cni.add(pod)
  await machine.cni.del({ ...one, namespaceGoes: true })
  for (const pod of [one, two]) unpinNamespace(pod.netns)
  await machine.cni.del(two)
  expect([held(), rules()]).toEqual([[], []])
  await expect.poll(() => links(machine, machine.host)).toEqual([])
})

test('of its subnet a pod knows only the gateway', async () => {
  const one = podNetwork(machine, 'one')
  await machine.cni.add(one)
  expect(machine.run(one.netns, 'ip', 'route').trim().split(/ *\n/)).toEqual([
    'default via 10.77.0.1 dev eth0',
    '10.77.0.0/24 via 10.77.0.1 dev eth0 src 10.77.0.2',
    '10.77.0.1 dev eth0 scope link src 10.77.0.2',
  ])
  const six = machine.run(one.netns, 'ip', '-6', 'route').trim().split(/ *\n/)
  expect(six.filter((line) => !line.startsWith('fe80'))).toEqual([
    expect.stringMatching(/^fd77::1 dev eth0 src fd77::2 metric/),
    expect.stringMatching(/^fd77::\/112 via fd77::1 dev eth0 src fd77::2 metric/),
    expect.stringMatching(/^default via fd77::1 dev eth0 metric/),
  ])
  const [end = ''] = links(machine, machine.host)
  expect(machine.run(machine.host, 'ip', 'route').trim()).toBe(`10.77.0.2 dev ${end} scope host`)
  expect(machine.run(machine.host, 'cat', `/proc/sys/net/ipv6/conf/${end}/accept_ra`).trim()).toBe('0')
})

test.each<[what: string, spoil: (netns: string) => string[], message: string]>([
  ['a lost address', (netns) => [netns, 'ip', 'addr', 'flush', 'dev', 'eth0'], 'eth0 has no address 10.77.0.2/24'],
  ['a lost route', (netns) => [netns, 'ip', 'route', 'del', 'default'], 'no route to 0.0.0.0/0 via 10.77.0.1'],
  ['a lost link', (netns) => [netns, 'ip', 'link', 'del', 'eth0'], 'eth0 is not in'],
  ['a lost way to the pod', () => [machine.host, 'ip', 'route', 'del', '10.77.0.2'], 'no route to 10.77.0.2/32'],
])('CHECK tells of %s', async (_, spoil, message) => {
  use({ ipam: ipam(only4) })
  const one = podNetwork(machine, 'one')
  await machine.cni.add(one)
  await machine.cni.check(one)
  const [netns = '', ...command] = spoil(one.netns)
  machine.run(netns, ...command)
  await expect(machine.cni.check(one)).rejects.toThrow(message)
})

test('an ADD that fails leaves neither link nor address', async () => {
  use({ ipam: ipam(only4) })
  const one = podNetwork(machine, 'one')
  machine.run(one.netns, 'ip', 'link', 'add', 'name', 'eth0', 'type', 'veth', 'peer', 'name', 'other')
  await expect(machine.cni.add(one)).rejects.toThrow('container veth name ("eth0") already exists')
  expect([links(machine, machine.host), held()]).toEqual([[], []])
  use({ ipam: ipam({ ...only4, routes: [{ dst: '10.9.0.0/16', gw: '10.8.0.1' }] }) })
  await expect(machine.cni.add(podNetwork(machine, 'two'))).rejects.toThrow('ENETUNREACH')
  expect([links(machine, machine.host), held()]).toEqual([[], []])
})

test.each([
  [{}, 'ptp: ipam: '],
  [{ ipam: ipam(), mtu: -1 }, 'ptp: mtu: '],
  [{ ipam: ipam(), ipMasqBackend: 'pigeons' }, 'ptp: ipMasqBackend: '],
])('%j is refused', async (plugin, message) => {
  use(plugin)
  await expect(machine.cni.add(podNetwork(machine, 'one'))).rejects.toThrow(message)
})

test('points of addresses', () => {
  expect(
    planPoints([
      { address: '10.1.2.3/20', gateway: '10.1.0.1' },
      { address: 'fd00:1::1234/100', gateway: 'fd00:1::1' },
      { address: '10.0.0.1/32', gateway: '169.254.1.1' },
    ]),
  ).toEqual([
    { source: '10.1.2.3', gateway: '10.1.0.1', pod: '10.1.2.3/32', machine: '10.1.0.1/32', subnet: '10.1.0.0/20' },
    {
      source: 'fd00:1::1234',
      gateway: 'fd00:1::1',
      pod: 'fd00:1::1234/128',
      machine: 'fd00:1::1/128',
      subnet: 'fd00:1::/100',
    },
    { source: '10.0.0.1', gateway: '169.254.1.1', pod: '10.0.0.1/32', machine: '169.254.1.1/32' },
  ])
  expect(() => planPoints([{ address: '10.0.0.2/24' }])).toThrow('10.0.0.2/24 comes without a gateway')
})
