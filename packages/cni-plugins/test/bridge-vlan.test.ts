// VLANs of bridge, with real packets. Not every kernel has them: guest.test.ts runs this where they are.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openNetlink } from '@nodelet/linux'
import type { BridgeVlan } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { CniResult, PodNetwork } from '../src/index.ts'
import { vlansOf } from '../src/plugins/bridge/vlans.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { makeTraffic } from './traffic.ts'
import type { Traffic } from './traffic.ts'

const inGuest = test.skipIf(!process.env.UML)
let machine: TestMachine
let traffic: Traffic

beforeEach(() => {
  machine = makeMachine({})
  traffic = makeTraffic(machine)
})
afterEach(async () => {
  await traffic[Symbol.asyncDispose]()
  machine[Symbol.dispose]()
})

const use = (more: object): void => {
  const ipam = { type: 'host-local', ranges: [[{ subnet: '10.77.0.0/24' }]] }
  const list = { cniVersion: '1.1.0', name: 'test', plugins: [{ type: 'bridge', bridge: 'br0', ipam, ...more }] }
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(list))
}
const pod = (name: string): PodNetwork => ({ containerId: name, netns: machine.pod(name), ifName: 'eth0' })
async function added(more: object, one: PodNetwork): Promise<CniResult> {
  use(more)
  return machine.open().add(one)
}
/** Of a link of the machine. */
async function vlans(name: string | undefined): Promise<BridgeVlan[] | undefined> {
  using netlink = openNetlink({ netns: machine.host })
  const index = (await netlink.links.get(name ?? ''))?.index
  return (await netlink.bridge.vlans()).find((port) => port.index === index)?.vlans
}
const silent = /no answer/

inGuest('pods of a VLAN reach each other and their gateway, and nobody else', async () => {
  const [one, two, other] = [pod('one'), pod('two'), pod('other')]
  const first = await added({ vlan: 100, isGateway: true, mtu: 1400 }, one)
  expect(first.interfaces.map(({ name }) => name)).toEqual(['br0', expect.stringMatching(/^veth/), 'eth0', 'br0.100'])
  expect(await vlans(first.interfaces[1]?.name)).toEqual([{ id: 100, pvid: true, untagged: true }])
  const second = await added({ vlan: 100, isGateway: true, mtu: 1400 }, two)
  expect(second.interfaces[3]).toEqual(first.interfaces[3])
  await machine.cni.check(two)
  await added({ vlan: 200 }, other)
  expect(machine.run(machine.host, 'ip', '-o', 'addr', 'show', 'br0.100')).toContain('10.77.0.1/24')
  expect(machine.run(machine.host, 'ip', '-o', 'addr', 'show', 'br0')).not.toContain('10.77.0.1')
  await Promise.all([traffic.serve(one.netns, 90, 'one'), traffic.serve(machine.host, 91, 'host')])
  expect(await traffic.ask(two.netns, '10.77.0.2', 90)).toBe('one 10.77.0.3')
  expect(await traffic.ask(two.netns, '10.77.0.1', 91)).toBe('host 10.77.0.3')
  await expect(traffic.ask(other.netns, '10.77.0.2', 90)).rejects.toThrow(silent)
  await expect(traffic.ask(other.netns, '10.77.0.1', 91)).rejects.toThrow(silent)
  for (const gone of [one, two, other]) await machine.cni.del(gone)
  expect(machine.run(machine.host, 'ip', '-o', 'link')).toMatch(/br0\.100/)
})

inGuest('a trunk brings a pod VLANs with tags, and one without', async () => {
  const [one, trunk] = [pod('one'), pod('trunk')]
  await added({ vlan: 100 }, one)
  const { interfaces } = await added({ vlanTrunk: [{ minID: 200, maxID: 205 }, { id: 100 }], ipam: undefined }, trunk)
  expect(await vlans(interfaces[1]?.name)).toEqual([
    { id: 1, pvid: true, untagged: true },
    { id: 100 },
    { id: 200, last: 205 },
  ])
  await traffic.serve(one.netns, 90, 'one')
  for (const id of ['100', '200']) {
    machine.run(trunk.netns, 'ip', 'link', 'add', 'link', 'eth0', 'name', `v${id}`, 'up', 'type', 'vlan', 'id', id)
  }
  machine.run(trunk.netns, 'ip', 'addr', 'add', '10.77.0.9/24', 'dev', 'v200')
  await expect(traffic.ask(trunk.netns, '10.77.0.2', 90)).rejects.toThrow(silent)
  machine.run(trunk.netns, 'ip', 'addr', 'del', '10.77.0.9/24', 'dev', 'v200')
  machine.run(trunk.netns, 'ip', 'addr', 'add', '10.77.0.9/24', 'dev', 'v100')
  expect(await traffic.ask(trunk.netns, '10.77.0.2', 90)).toBe('one 10.77.0.9')
})

inGuest('the VLAN that a bridge gives its ports is kept where that is asked for', async () => {
  const { interfaces } = await added({ vlan: 100, preserveDefaultVlan: true }, pod('one'))
  expect(await vlans(interfaces[1]?.name)).toEqual([
    { id: 1, untagged: true },
    { id: 100, pvid: true, untagged: true },
  ])
})

test.each<[string, Parameters<typeof vlansOf>[0], BridgeVlan[]]>([
  ['an access port', { vlan: 7, vlanTrunk: [] }, []],
  ['a trunk', { vlan: 0, vlanTrunk: [{ id: 5, last: 5 }] }, [{ id: 5, last: 5 }]],
  [
    'ranges that overlap or touch',
    {
      vlan: 0,
      vlanTrunk: [
        { id: 30, last: 40 },
        { id: 10, last: 20 },
        { id: 15, last: 29 },
      ],
    },
    [{ id: 10, last: 40 }],
  ],
  [
    'the untagged one amid the others',
    { vlan: 12, vlanTrunk: [{ id: 10, last: 20 }] },
    [
      { id: 10, last: 11 },
      { id: 13, last: 20 },
    ],
  ],
  ['the untagged one alone', { vlan: 12, vlanTrunk: [{ id: 12, last: 12 }] }, []],
])('VLANs of %s', (_, config, tagged) => {
  const given = structuredClone(config)
  expect(vlansOf(config)).toEqual([{ id: config.vlan || 1, pvid: true, untagged: true }, ...tagged])
  expect(config).toEqual(given)
})
