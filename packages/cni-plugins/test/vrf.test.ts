// guest.test.ts runs these where the kernel has vrf.
import { openNetlink } from '@nodelet/linux'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { CniResult } from '../src/index.ts'
import { vrf } from '../src/plugins/vrf/vrf.ts'
import { inProcess, program } from '../src/testing/index.ts'
import type { PluginForm } from '../src/testing/index.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'

let machine: TestMachine

beforeEach(() => {
  machine = makeMachine({})
})
afterEach(() => machine[Symbol.dispose]())

const prevResult: CniResult = {
  cniVersion: '1.0.0',
  interfaces: [{ name: 'eth1', sandbox: '/pod' }],
  ips: [
    { address: '10.77.0.2/24', gateway: '10.77.0.1', interface: 0 },
    { address: 'fd77::2/64', gateway: 'fd77::1', interface: 0 },
  ],
  routes: [{ dst: '10.5.0.0/16' }, { dst: 'fd05::/32' }],
  dns: {},
}
const call = async (
  command: string,
  netns: string,
  { ifName = 'eth1', form = ours(), ...keys }: Record<string, unknown> & { ifName?: string; form?: PluginForm } = {},
): Promise<{ exitCode: number; stdout: string }> => {
  const env = { CNI_COMMAND: command, CNI_CONTAINERID: 'one', CNI_NETNS: netns, CNI_IFNAME: ifName, CNI_PATH: '/' }
  const config = { cniVersion: '1.0.0', name: 'test', type: 'vrf', vrfname: 'red', prevResult, ...keys }
  return form(env, JSON.stringify(config))
}
const ours = (): PluginForm => inProcess(vrf, { hostNetns: machine.host, addressDir: machine.folder })
const done = { exitCode: 0 }
const refused = (text: string): object => ({ exitCode: 1, stdout: expect.stringContaining(text) as string })
const ip = (netns: string, ...args: string[]): string[] =>
  machine
    .run(netns, 'ip', ...args)
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)

/** Links the pod to another machine; both networks have the same addresses. */
async function connect(pod: string, link: string, other: string): Promise<void> {
  using inside = openNetlink({ netns: pod })
  using outside = openNetlink({ netns: other })
  await inside.links.add({ kind: 'veth', name: link, peer: { name: 'eth0', netns: other } })
  for (const [netlink, name, end] of [
    [inside, link, 2],
    [outside, 'eth0', 1],
  ] as const) {
    for (const address of [`10.77.0.${end}/24`, `fd77::${end}/64`])
      await netlink.addresses.add(name, { address, flags: { noDad: true } })
    await netlink.links.set(name, { up: true })
  }
}
async function podWith(...links: string[]): Promise<string> {
  const pod = machine.pod(`pod-of-${links.join('-')}`)
  for (const link of links) {
    await connect(pod, link, machine.pod(`other-${link}`))
    await addRoutes(pod, link)
  }
  return pod
}
async function addRoutes(pod: string, link: string): Promise<void> {
  using inside = openNetlink({ netns: pod })
  await inside.routes.add({ destination: '10.5.0.0/16', gateway: '10.77.0.1', link }, 'append')
  await inside.routes.add({ destination: 'fd05::/32', gateway: 'fd77::1', link }, 'append')
}
const received = (netns: string): number =>
  Number(machine.run(netns, 'sh', '-c', 'cat /proc/net/snmp | sed -n "s/^Icmp: \\([0-9]\\+\\) .*/\\1/p"'))
const ping = (pod: string, ...args: string[]): string =>
  machine.run(pod, 'busybox', 'ping', '-c', '1', '-W', '5', ...args)

describe.skipIf(!process.env['UML'])('vrf', () => {
  test('networks with the same addresses stay apart, and so do their routes', async () => {
    const pod = await podWith('eth1')
    const added = await call('ADD', pod)
    expect(added).toMatchObject(done)
    expect((JSON.parse(added.stdout) as CniResult).routes).toEqual([
      { dst: '10.5.0.0/16', table: 1 },
      { dst: 'fd05::/32', table: 1 },
    ])
    const main = machine.pod('other-eth0')
    await connect(pod, 'eth0', main)
    const red = `${machine.folder}/other-eth1`
    for (const address of ['10.77.0.1', 'fd77::1']) {
      ping(pod, address)
      ping(pod, '-I', 'red', address)
    }
    expect([received(main), received(red)]).toEqual([1, 1])
    expect(ip(pod, 'route', 'show', 'table', '1').join('\n')).toContain('10.5.0.0/16 via 10.77.0.1 dev eth1')
    expect(ip(pod, '-6', 'route', 'show', 'table', '1').join('\n')).toContain('fd05::/32 via fd77::1 dev eth1')
    expect(ip(pod, 'route')).toEqual(['10.77.0.0/24 dev eth0 proto kernel scope link src 10.77.0.2'])
    expect(await call('CHECK', pod)).toMatchObject(done)
    expect(await call('STATUS', '', { cniVersion: '1.1.0' })).toMatchObject(done)
  })

  test('a vrf is used by all that name it, and goes with the last', async () => {
    const pod = await podWith('eth1', 'eth2', 'eth3')
    expect(await call('ADD', pod, { table: 7 })).toMatchObject(done)
    expect(await call('ADD', pod, { ifName: 'eth2' })).toMatchObject(done)
    expect(await call('ADD', pod, { ifName: 'eth3', vrfname: 'blue' })).toMatchObject(done)
    using inside = openNetlink({ netns: pod })
    const vrfs = await inside.links.list({ kind: 'vrf' })
    expect(vrfs.map(({ name, details, up }) => [name, details, up])).toEqual([
      ['red', { kind: 'vrf', table: 7 }, true],
      ['blue', { kind: 'vrf', table: 1 }, true],
    ])
    expect(await call('DEL', pod, { ifName: 'eth2' })).toMatchObject(done)
    expect(ip(pod, '-o', 'addr', 'show', 'dev', 'eth2').join()).toContain('fd77::2/64')
    expect(await call('DEL', pod, { ifName: 'eth2' })).toMatchObject(done)
    expect(await call('CHECK', pod, { ifName: 'eth2' })).toMatchObject(
      refused('Failed to find eth2 associated to vrf red'),
    )
    expect(await call('CHECK', pod)).toMatchObject(done)
    expect(await call('CHECK', pod, { table: 8 })).toMatchObject(
      refused('already exist with different routing table 7'),
    )
    expect(await call('DEL', pod, { ifName: 'eth9' })).toMatchObject(done)
    expect(await call('DEL', pod)).toMatchObject(done)
    expect((await inside.links.list({ kind: 'vrf' })).map(({ name }) => name)).toEqual(['blue'])
    expect(await call('CHECK', pod)).toMatchObject(refused('vrf: there is no red'))
  })

  test('what cannot be is refused, and leaves nothing', async () => {
    const pod = await podWith('eth1', 'eth2')
    ip(pod, 'link', 'add', 'bridge', 'type', 'bridge')
    expect(await call('ADD', pod, { vrfname: 'bridge' })).toMatchObject(refused('Netlink bridge is not a VRF'))
    ip(pod, 'link', 'set', 'eth2', 'master', 'bridge')
    const taken = refused('interface eth2 has already a master set: bridge')
    expect(await call('ADD', pod, { ifName: 'eth2' })).toMatchObject(taken)
    expect(await call('ADD', pod, { ifName: 'eth9' })).toMatchObject(refused('could not get link by name eth9'))
    expect(await call('ADD', pod, { prevResult: undefined })).toMatchObject(refused('missing prevResult'))
    expect(await call('ADD', pod, { vrfname: 'sixteen-letters-' })).toMatchObject(
      refused('vrfname: must be a link name'),
    )
    expect(ip(pod, 'link', 'show', 'type', 'vrf')).toEqual([])
    expect(await call('ADD', pod, { table: 5 })).toMatchObject(done)
    ip(pod, 'link', 'set', 'eth2', 'nomaster')
    const other = refused('VRF red already exist with different routing table 5')
    expect(await call('ADD', pod, { ifName: 'eth2', table: 6 })).toMatchObject(other)
  })

  test("Debian's makes the same links and addresses, and each takes away what the other made", async () => {
    const forms = [ours(), program('/usr/lib/cni/vrf', { hostNetns: machine.host })] as const
    const seen = []
    for (const [adds, dels] of [forms, [forms[1], forms[0]] as const]) {
      const pod = machine.pod(`pod-${seen.length}`)
      await connect(pod, 'eth1', machine.pod(`other-${seen.length}`))
      expect(await call('ADD', pod, { form: adds, table: 9 })).toMatchObject(done)
      const vrfs = ip(pod, '-d', 'link', 'show', 'type', 'vrf').join('\n')
      seen.push([
        /vrf table \d+/.exec(vrfs)?.[0],
        ip(pod, '-o', 'addr', 'show', 'dev', 'eth1')
          .map((line) => /inet6? \S+/.exec(line)?.[0])
          .filter((one) => !one?.includes('fe80')),
        ip(pod, 'link', 'show', 'master', 'red').length > 0,
      ])
      for (const form of forms) expect(await call('CHECK', pod, { form, table: 9 })).toMatchObject(done)
      expect(await call('DEL', pod, { form: dels, table: 9 })).toMatchObject(done)
      expect(ip(pod, 'link', 'show', 'type', 'vrf')).toEqual([])
    }
    expect(seen[0]).toEqual(seen[1])
  })
})

test.skipIf(process.env['UML'])('a kernel without vrf is told of by name', async () => {
  const lacks = refused("this machine's kernel lacks links of the kind vrf (CONFIG_NET_VRF)")
  const pod = await podWith('eth1')
  expect(await call('ADD', pod)).toMatchObject(lacks)
  expect(JSON.parse((await call('STATUS', '', { cniVersion: '1.1.0' })).stdout)).toMatchObject({ code: 50 })
})
