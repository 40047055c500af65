import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isNamespacePinned, lockFile, openNetlink } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Cni, CniResult, PodNetwork } from '../src/index.ts'
import { parseSbr } from '../src/plugins/sbr/config.ts'
import { sbr } from '../src/plugins/sbr/sbr.ts'
import { inProcess, program } from '../src/testing/index.ts'
import type { PluginForm } from '../src/testing/index.ts'
import { addClient } from './client.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'

let machine: TestMachine

beforeEach(() => {
  machine = makeMachine({})
})
afterEach(() => machine[Symbol.dispose]())

/** A network of its own bridge: 10.77.N.0/24 and fd77:N::/64. */
function network(at: number, sbrKeys: object | undefined, routes: object[]): Cni {
  const confDir = join(machine.folder, `net-${at}.d`)
  mkdirSync(confDir)
  const ranges = [[{ subnet: `10.77.${at}.0/24` }], [{ subnet: `fd77:${at}::/64` }]]
  const bridge = { type: 'bridge', bridge: `br${at}`, isGateway: true, ipam: { type: 'host-local', ranges, routes } }
  const plugins = sbrKeys ? [bridge, { type: 'sbr', ...sbrKeys }] : [bridge]
  writeFileSync(join(confDir, '10.conflist'), JSON.stringify({ cniVersion: '1.1.0', name: `net${at}`, plugins }))
  return machine.open({ confDir })
}
const defaults = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }]
const on = (ifName: string, netns: string): PodNetwork => ({ containerId: 'pod', netns, ifName })
const ip = (netns: string, ...args: string[]): string[] =>
  machine
    .run(netns, 'ip', ...args)
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)

const ping = (from: string, address: string): string =>
  machine.run(from, 'busybox', 'ping', '-c', '1', '-W', '3', address)

/** How many packets the pod sent by the link, while something is done. */
async function sentBy(netns: string, link: string, work: () => void): Promise<number> {
  const sent = (): number => Number(readFileSyncIn(netns, link))
  const before = sent()
  work()
  return sent() - before
}
const readFileSyncIn = (netns: string, link: string): string =>
  machine.run(
    netns,
    'sh',
    '-c',
    `ip -s -j link show ${link} | sed 's/.*"tx":{"bytes":[0-9]*,"packets":\\([0-9]*\\).*/\\1/'`,
  )

test('answers leave by the interface that the request came in by, of two networks', { timeout: 60_000 }, async () => {
  const outside = addClient(machine).netns
  const pod = machine.pod('pod')
  const [first, second] = [network(1, {}, defaults), network(2, {}, defaults)]
  await first.add(on('eth0', pod))
  const { routes } = await second.add(on('eth1', pod))
  expect(routes).toEqual([
    { dst: '0.0.0.0/0', table: 102 },
    { dst: '::/0', table: 103 },
  ])
  for (const [link, other, ...addresses] of [
    ['eth0', 'eth1', '10.77.1.2', 'fd77:1::2'],
    ['eth1', 'eth0', '10.77.2.2', 'fd77:2::2'],
  ] as const) {
    for (const address of addresses) {
      // Neighbours' questions may go by the other at any time: an answer of many packets stands out.
      const many = (): unknown => {
        for (let count = 0; count < 10; count += 1) ping(outside, address)
        return undefined
      }
      let byOther = 0
      const byLink = await sentBy(pod, link, () => {
        byOther = Number(readFileSyncIn(pod, other))
        many()
        byOther = Number(readFileSyncIn(pod, other)) - byOther
      })
      expect(byLink).toBeGreaterThanOrEqual(10)
      expect(byOther).toBeLessThan(10)
    }
  }
  await first.check(on('eth0', pod))
  await second.check(on('eth1', pod))
  ip(pod, 'rule', 'del', 'from', '10.77.2.2')
  await expect(second.check(on('eth1', pod))).rejects.toThrow('sbr: there is no rule for packets from 10.77.2.2/32')
  await second.del(on('eth1', pod))
  await second.del(on('eth1', pod))
  expect(ip(pod, 'rule').join()).not.toContain('10.77.2.2')
  expect(ip(pod, '-6', 'rule').join()).toContain('fd77:1::2')
  ping(outside, '10.77.1.2')
})

test('only the first network is answered where there is no sbr', async () => {
  const outside = addClient(machine).netns
  const pod = machine.pod('pod')
  await network(1, undefined, defaults).add(on('eth0', pod))
  await network(2, undefined, []).add(on('eth1', pod))
  const byOther = await sentBy(pod, 'eth0', () => {
    for (let count = 0; count < 10; count += 1) ping(outside, '10.77.2.2')
  })
  expect(byOther).toBeGreaterThanOrEqual(10)
})

test('addSourceHints keeps the ways to own networks, gateways replaces those of addresses, table makes rules only', async () => {
  const pod = machine.pod('pod')
  const keys = { addSourceHints: true, gateways: ['10.77.1.77', 'fd77:1::77'] }
  await network(1, keys, []).add(on('eth0', pod))
  expect(ip(pod, 'route')).toEqual(['10.77.1.0/24 dev eth0 proto kernel scope link src 10.77.1.2'])
  expect(ip(pod, '-6', 'route').filter((line) => !line.startsWith('fe80'))).toEqual([
    'fd77:1::/64 dev eth0 proto kernel src fd77:1::2 metric 256 pref medium',
  ])
  expect(ip(pod, 'route', 'show', 'table', '100')[0]).toBe('default via 10.77.1.77 dev eth0')
  expect(ip(pod, '-6', 'route', 'show', 'table', '101').join()).toContain('default via fd77:1::77 dev eth0')
  const before = ip(pod, 'route', 'show', 'table', 'all')
  const second = network(2, { table: 100 }, defaults)
  await second.add(on('eth1', pod))
  expect(ip(pod, 'rule').join()).toContain('from 10.77.2.2 lookup 100')
  expect(ip(pod, 'route').join()).toContain('default via 10.77.2.1 dev eth1')
  expect(ip(pod, 'route', 'show', 'table', '100')).toEqual(
    before
      .filter((line) => /table 100/.test(line) && !/^(fd|fe)/.test(line))
      .map((line) => line.replace(' table 100', '')),
  )
  await second.check(on('eth1', pod))
  await second.del(on('eth1', pod))
  expect(ip(pod, 'rule').join()).not.toContain('10.77.2.2')
  const base = { type: 'sbr', name: 'n', cniVersion: '1.1.0' }
  expect(() => parseSbr({ ...base, gateways: ['1.1.1.1', '1.1.1.2'] })).toThrow('there may be one of IPv4')
  expect(() => parseSbr({ ...base, gateways: ['x'] })).toThrow('gateways.0: invalid IP address: x')
})

const prevResult: CniResult = {
  cniVersion: '1.0.0',
  interfaces: [{ name: 'eth0', sandbox: '/pod' }],
  ips: [
    { address: '10.77.0.2/24', gateway: '10.77.0.1', interface: 0 },
    { address: 'fd77::2/64', gateway: 'fd77::1', interface: 0 },
  ],
  routes: [],
  dns: {},
}
/** A pod with a link, addresses and routes. */
async function podWithLink(name: string): Promise<string> {
  const netns = machine.pod(name)
  using inside = openNetlink({ netns })
  await inside.links.add({ kind: 'veth', name: 'eth0', peer: { name: 'other' } })
  for (const { address } of prevResult.ips) await inside.addresses.add('eth0', { address, flags: { noDad: true } })
  for (const link of ['eth0', 'other']) await inside.links.set(link, { up: true })
  await inside.routes.add({ destination: '0.0.0.0/0', gateway: '10.77.0.1', link: 'eth0' })
  await inside.routes.add({ destination: '10.5.0.0/16', gateway: '10.77.0.9', link: 'eth0' })
  return netns
}
const call = async (form: PluginForm | undefined, command: string, netns: string, more = {}): Promise<unknown> => {
  const env = { CNI_COMMAND: command, CNI_CONTAINERID: 'one', CNI_NETNS: netns, CNI_IFNAME: 'eth0', CNI_PATH: '/' }
  return form?.(env, JSON.stringify({ cniVersion: '1.0.0', name: 'test', type: 'sbr', prevResult, ...more }))
}
const ours = (): PluginForm => inProcess(sbr, { hostNetns: machine.host, addressDir: machine.folder })

test("Debian's makes the same rules and routes, and each takes away what the other made", async () => {
  const forms = [ours(), program('/usr/lib/cni/sbr', { hostNetns: machine.host })]
  const seen = []
  for (const [adds, dels] of [forms, forms.toReversed()]) {
    const netns = await podWithLink(`pod-${seen.length}`)
    expect(await call(adds, 'ADD', netns)).toMatchObject({ exitCode: 0 })
    const four = ['main', '100'].map((table) => ip(netns, '-4', 'route', 'show', 'table', table))
    // Debian's also puts routes of IPv6 in the table of IPv4's rule.
    const six = ['main', '101'].map((table) => ip(netns, '-6', 'route', 'show', 'table', table))
    const all = [...four, ...six.map((lines) => lines.filter((line) => !line.startsWith('fe80')))]
    seen.push([ip(netns, 'rule'), ip(netns, '-6', 'rule'), ...all])
    for (const form of forms) expect(await call(form, 'CHECK', netns)).toMatchObject({ exitCode: 0 })
    expect(await call(dels, 'DEL', netns)).toMatchObject({ exitCode: 0 })
    expect([...ip(netns, 'rule'), ...ip(netns, '-6', 'rule')].filter((line) => line.includes('77'))).toEqual([])
  }
  expect(seen[0]).toEqual(seen[1])
})

test('an ADD that fails gives routes and rules back; one waits for who has the namespace', async () => {
  const netns = await podWithLink('pod')
  const state = (): string[][] => [ip(netns, 'rule'), ip(netns, 'route', 'show', 'table', 'all')]
  const before = state()
  const odd = {
    prevResult: { ...prevResult, ips: [...prevResult.ips, { address: '10.88.0.2/24', gateway: '10.88.0.1' }] },
  }
  expect(await call(ours(), 'ADD', netns, odd)).toMatchObject({
    exitCode: 1,
    stdout: expect.stringContaining('ENETUNREACH: add route 0.0.0.0/0 via 10.88.0.1') as string,
  })
  expect(state()).toEqual(before)
  expect(isNamespacePinned(netns)).toBe(true)
  const held = lockFile(netns, 'exists')
  expect(lockFile(netns, 'exists')).toBe(undefined)
  const adding = call(ours(), 'ADD', netns)
  const removing = call(ours(), 'DEL', machine.pod('another'))
  expect(await removing).toMatchObject({ exitCode: 0 }) // not held up
  expect(state()).toEqual(before)
  held?.[Symbol.dispose]()
  expect(await adding).toMatchObject({ exitCode: 0 })
})
