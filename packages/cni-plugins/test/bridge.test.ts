// The keys of bridge, with real packets. VLANs: bridge-vlan.test.ts.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { PodNetwork } from '../src/index.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { makeTraffic } from './traffic.ts'
import type { Traffic } from './traffic.ts'

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

const ipam = { type: 'host-local', ranges: [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd77::/112' }]] }
const use = (more: object): void => {
  const bridge = { type: 'bridge', bridge: 'br0', isGateway: true, ipam, ...more }
  const list = { cniVersion: '1.1.0', name: 'test', plugins: [bridge] }
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(list))
}
const pod = (name: string, more: Partial<PodNetwork> = {}): PodNetwork => ({
  containerId: name,
  netns: machine.pod(name),
  ifName: 'eth0',
  ...more,
})
const onHost = (...command: string[]): string => machine.run(machine.host, ...command)
const silent = /no answer/

test.each([true, false])('with macspoofchk %s a pod that sends from another MAC…', async (macspoofchk) => {
  use({ macspoofchk })
  await machine.cni.status()
  const one = pod('one')
  const { interfaces } = await machine.cni.add(one)
  await machine.cni.check(one)
  await traffic.serve(machine.host, 90, 'host')
  expect(await traffic.ask(one.netns, '10.77.0.1', 90)).toBe('host 10.77.0.2')
  const chains = (): string => (macspoofchk ? onHost('nft', 'list', 'table', 'bridge', 'nat') : '')
  if (macspoofchk) {
    expect(chains()).toContain(
      `iifname "${interfaces[1]?.name}" jump cni-br-iface-one-eth0 comment "macspoofchk-one-eth0"`,
    )
    expect(chains()).toContain(`ether saddr ${interfaces[2]?.mac} return comment "macspoofchk-one-eth0"`)
  }
  machine.run(one.netns, 'ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:00:99')
  if (macspoofchk) await expect(traffic.ask(one.netns, '10.77.0.1', 90)).rejects.toThrow(silent)
  else expect(await traffic.ask(one.netns, '10.77.0.1', 90)).toBe('host 10.77.0.2')
  await machine.cni.del(one)
  await machine.cni.del(one)
  expect(chains()).not.toContain('one')
})

test('isolated pods reach the gateway and ports that are not isolated, but not each other', async () => {
  use({ portIsolation: true })
  const [one, two, open] = [pod('one'), pod('two'), pod('open')]
  await machine.cni.add(one)
  await machine.cni.add(two)
  use({})
  await machine.open().add(open)
  await Promise.all([
    traffic.serve(machine.host, 90, 'host'),
    traffic.serve(two.netns, 90, 'two'),
    traffic.serve(open.netns, 90, 'open'),
  ])
  await expect(traffic.ask(one.netns, '10.77.0.3', 90)).rejects.toThrow(silent)
  expect(await traffic.ask(one.netns, '10.77.0.4', 90)).toBe('open 10.77.0.2')
  expect(await traffic.ask(one.netns, '10.77.0.1', 90)).toBe('host 10.77.0.2')
  expect(await traffic.ask(machine.host, '10.77.0.3', 90)).toBe('two 10.77.0.1')
})

test('an address that is in the way is replaced only where that is allowed', async () => {
  onHost('ip', 'link', 'add', 'br0', 'type', 'bridge')
  for (const address of ['10.77.0.254/24', 'fd77::99/112', 'fd78::1/112'])
    onHost('ip', 'addr', 'add', address, 'dev', 'br0')
  use({})
  const one = pod('one')
  await expect(machine.cni.add(one)).rejects.toThrow('"br0" already has an IP address different from 10.77.0.1/24')
  onHost('ip', 'addr', 'del', '10.77.0.254/24', 'dev', 'br0')
  await expect(machine.cni.add(one)).rejects.toThrow('"br0" already has an IP address different from fd77::1/112')
  onHost('ip', 'addr', 'add', '10.77.0.253/24', 'dev', 'br0')
  use({ forceAddress: true })
  const cni = machine.open()
  await cni.add(one)
  const addresses = onHost('ip', '-o', 'addr', 'show', 'br0', 'scope', 'global')
  expect([...addresses.matchAll(/inet6? (\S+)/g)].map(([, address = '']) => address).toSorted()).toEqual([
    '10.77.0.1/24',
    'fd77::1/112',
    'fd78::1/112',
  ])
})

test('CHECK compares the bridge, the port and the pod with what ADD told', async () => {
  use({ promiscMode: true })
  const one = pod('one')
  const { interfaces } = await machine.cni.add(one)
  expect(interfaces.map(({ name, mac, sandbox }) => [name, mac, sandbox])).toEqual([
    ['br0', macOf(machine.host, 'br0'), undefined],
    [expect.stringMatching(/^veth[0-9a-f]{8}$/), macOf(machine.host, interfaces[1]?.name ?? ''), undefined],
    ['eth0', macOf(one.netns, 'eth0'), one.netns],
  ])
  await machine.cni.check(one)
  onHost('ip', 'link', 'set', 'br0', 'promisc', 'off')
  await expect(machine.cni.check(one)).rejects.toThrow('promiscuous mode of br0 is false, not true')
  onHost('ip', 'link', 'set', 'br0', 'promisc', 'on')
  for (const { name } of interfaces.slice(0, 2)) {
    const before = macOf(machine.host, name)
    onHost('ip', 'link', 'set', name, 'address', '02:00:00:00:00:77')
    await expect(machine.cni.check(one)).rejects.toThrow(`${name} has the MAC 02:00:00:00:00:77, not ${before}`)
    onHost('ip', 'link', 'set', name, 'address', before)
  }
  onHost('ip', 'link', 'set', interfaces[1]?.name ?? '', 'nomaster')
  await expect(machine.cni.check(one)).rejects.toThrow('the other end of eth0 is no port of br0')
})
const macOf = (netns: string, link: string): string =>
  /link\/ether (\S+)/.exec(machine.run(netns, 'ip', 'link', 'show', link))?.[1] ?? ''

test('a pod has the MAC that it asks for', async () => {
  use({ capabilities: { mac: true }, args: { cni: { mac: '02:00:00:00:00:02' } } })
  const [one, two] = [pod('one', { capabilityArgs: { mac: '02:00:00:00:00:01' } }), pod('two')]
  expect((await machine.cni.add(one)).interfaces[2]?.mac).toBe('02:00:00:00:00:01')
  expect((await machine.cni.add(two)).interfaces[2]?.mac).toBe('02:00:00:00:00:02')
  expect(machine.run(one.netns, 'ip', 'link', 'show', 'eth0')).toContain('02:00:00:00:00:01')
})

test('with enabledad an address of IPv6 that another pod has is found out', async () => {
  use({ isGateway: false, enabledad: true, ipam: { type: 'fixed' } })
  const answer = '{"cniVersion":"1.1.0","ips":[{"address":"fd77::5/112","gateway":"fd77::1"}]}'
  const script = `#!/bin/sh\ncat >/dev/null\n[ $CNI_COMMAND = ADD ] && echo '${answer}'\nexit 0\n`
  writeFileSync(join(machine.folder, 'bin/fixed'), script, { mode: 0o755 })
  const [one, two] = [pod('one'), pod('two')]
  await machine.cni.add(one)
  await expect(machine.cni.add(two)).rejects.toThrow('eth0: fd77::5/112 is in use by another machine')
  expect(onHost('ip', '-o', 'link').match(/veth/g)).toHaveLength(1)
})

test('the end of a pod stays down where that is asked for', async () => {
  use({ isGateway: false, ipam: undefined, disableContainerInterface: true, mtu: 1400 })
  const one = pod('one')
  await machine.cni.add(one)
  expect(machine.run(one.netns, 'ip', '-o', 'link', 'show', 'eth0')).toMatch(/mtu 1400 .* state DOWN/)
  await machine.cni.del(one)
})

test.each([
  [{ hairpinMode: true, promiscMode: true }, 'cannot set hairpinMode and promiscMode at the same time'],
  [{ disableContainerInterface: true }, 'cannot use ipam when disableContainerInterface is set'],
  [{ vlan: 4095 }, 'vlan: '],
  [{ vlanTrunk: [{ id: 0 }] }, 'vlanTrunk.0.id: '],
  [{ vlanTrunk: [{ minID: 5 }] }, 'vlanTrunk.0: minID and maxID come together'],
  [{ vlanTrunk: [{ minID: 5, maxID: 4 }] }, 'vlanTrunk.0: minID 5 is greater than maxID 4'],
  [
    { bridge: 'a-long-name-0', vlan: 100 },
    "vlan: the gateway's link a-long-name-0.100 would have a name of more than 15",
  ],
  [{ args: { cni: { mac: 'x' } } }, 'args.cni.mac: must be a MAC'],
  [{ ipMasqBackend: 'ebtables' }, 'ipMasqBackend: '],
])('what does not fit together is refused: %j', async (more, message) => {
  use(more)
  await expect(machine.cni.add(pod('one'))).rejects.toThrow(`bridge: ${message}`)
  expect(onHost('ip', '-o', 'link')).not.toContain('br0')
})
