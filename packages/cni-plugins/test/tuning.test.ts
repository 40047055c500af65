import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openNetlink } from '@nodelet/linux'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { CniResult, PodNetwork } from '../src/index.ts'
import { parseAllowList, parseTuning, sysctlFiles } from '../src/plugins/tuning/config.ts'
import { tuning } from '../src/plugins/tuning/tuning.ts'
import { inProcess, program } from '../src/testing/index.ts'
import type { PluginForm } from '../src/testing/index.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { usePrograms } from './programs.ts'

let machine: TestMachine
const programs = usePrograms()
const bridge = { type: 'bridge', bridge: 'br0', ipam: { type: 'host-local', ranges: [[{ subnet: '10.77.0.0/24' }]] } }
const all = {
  sysctl: { 'net.ipv4.conf.IFNAME.rp_filter': '2', 'net/ipv4/ip_local_port_range': '20000 30000' },
  mac: '02:00:00:00:00:AA',
  mtu: 1400,
  promisc: true,
  allmulti: true,
  txQLen: 77,
}

beforeEach(() => {
  machine = makeMachine({})
})
afterEach(() => machine[Symbol.dispose]())

const dataDir = (): string => join(machine.folder, 'tuning')
const use = (keys: object, capabilities = {}): void =>
  writeFileSync(
    join(machine.folder, 'net.d/10-test.conflist'),
    JSON.stringify({
      cniVersion: '1.1.0',
      name: 'test',
      plugins: [bridge, { type: 'tuning', capabilities, dataDir: dataDir(), ...keys }],
    }),
  )
const pod = (name: string): PodNetwork => ({ containerId: name, netns: machine.pod(name), ifName: 'eth0' })
const sysctl = (netns: string, name: string): string => machine.run(netns, 'cat', `/proc/sys/${name}`).trim()
async function link(netns: string): Promise<object> {
  using netlink = openNetlink({ netns })
  const { mac, mtu, promiscuous, allMulticast, txQueueLength } = (await netlink.links.get('eth0')) ?? {}
  return { mac, mtu, promiscuous, allMulticast, txQueueLength }
}
const tuned = { mac: '02:00:00:00:00:aa', mtu: 1400, promiscuous: true, allMulticast: true, txQueueLength: 77 }

test('a link is tuned, its result says so, and CHECK sees each thing that is not so any more', async () => {
  use(all)
  const cni = machine.open()
  await cni.status()
  const one = pod('one')
  const result = await cni.add(one)
  expect(result.interfaces.at(-1)).toMatchObject({ name: 'eth0', mac: '02:00:00:00:00:aa' })
  expect(await link(one.netns)).toEqual(tuned)
  expect(sysctl(one.netns, 'net/ipv4/conf/eth0/rp_filter')).toBe('2')
  await cni.check(one)
  const ip = (...args: string[]): string => machine.run(one.netns, 'ip', 'link', 'set', 'eth0', ...args)
  const wrongs = [
    [['mtu', '1300'], ['mtu', '1400'], 'configured mtu of eth0 is 1400, current value is 1300'],
    [['promisc', 'off'], ['promisc', 'on'], 'configured promiscuous of eth0 is true, current value is false'],
    [['allmulticast', 'off'], ['allmulticast', 'on'], 'configured allMulticast of eth0 is true'],
    [['txqueuelen', '5'], ['txqueuelen', '77'], 'configured txQueueLength of eth0 is 77, current value is 5'],
  ] as const
  for (const [wrong, right, message] of wrongs) {
    ip(...wrong)
    await expect(cni.check(one)).rejects.toThrow(message)
    ip(...right)
  }
  await cni.check(one)
  machine.run(one.netns, 'sh', '-c', 'echo 0 > /proc/sys/net/ipv4/conf/eth0/rp_filter')
  await expect(cni.check(one)).rejects.toThrow(
    'value of /proc/sys/net/ipv4/conf/eth0/rp_filter is 2, current value is 0',
  )
})

test('DEL gives the link back as it was, and forgets it where the namespace is gone', async () => {
  use(all)
  const cni = machine.open()
  const [one, two] = [pod('one'), pod('two')]
  const form = inProcess(tuning, { hostNetns: machine.host, addressDir: machine.folder })
  const { interfaces, ...rest } = await cni.add(one)
  const before = { ...(await link(one.netns)), ...JSON.parse(readFileSync(join(dataDir(), 'one_eth0.json'), 'utf8')) }
  expect(before).toMatchObject({ mtu: 1500, promisc: false, allmulti: false, txQLen: 1000, network: 'test' })
  const config = {
    cniVersion: '1.1.0',
    name: 'test',
    type: 'tuning',
    dataDir: dataDir(),
    prevResult: { interfaces, ...rest },
  }
  const env = { CNI_COMMAND: 'DEL', CNI_CONTAINERID: 'one', CNI_NETNS: one.netns, CNI_IFNAME: 'eth0', CNI_PATH: '/' }
  expect(await form(env, JSON.stringify(config))).toMatchObject({ exitCode: 0 })
  const { mac, mtu } = before
  expect(await link(one.netns)).toEqual({ mac, mtu, promiscuous: false, allMulticast: false, txQueueLength: 1000 })
  expect(mac).not.toBe(tuned.mac)
  await cni.add(two)
  expect(readdirSync(dataDir())).toEqual(['two_eth0.json'])
  await cni.del({ ...two, netns: '' })
  expect(readdirSync(dataDir())).toEqual([])
})

test('GC forgets the pods of the network that are gone, and no other', async () => {
  use({ mtu: 1400 })
  const cni = machine.open()
  for (const name of ['one', 'two']) await cni.add(pod(name))
  rmSync(join(machine.folder, 'cache'), { recursive: true }) // so that only the plugin itself can know
  writeFileSync(join(dataDir(), 'theirs_eth0.json'), '{"mtu":1500}')
  writeFileSync(join(dataDir(), 'three_eth0.json'), '{"mtu":1500,"network":"other"}')
  await cni.gc([{ containerId: 'one', ifName: 'eth0' }])
  expect(new Set(readdirSync(dataDir()))).toEqual(new Set(['one_eth0.json', 'theirs_eth0.json', 'three_eth0.json']))
})

test('an ADD that fails leaves link and sysctls as they were', async () => {
  use({ ...all, mtu: 100_000 })
  const cni = machine.open({ plugins: [], binDirs: ['/nonexistent'] })
  await expect(cni.status()).rejects.toThrow()
  const form = inProcess(tuning, { hostNetns: machine.host, addressDir: machine.folder })
  const one = machine.pod('one')
  machine.run(one, 'ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'other')
  const before = [await link(one), sysctl(one, 'net/ipv4/conf/eth0/rp_filter')]
  const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'one', CNI_NETNS: one, CNI_IFNAME: 'eth0', CNI_PATH: '/' }
  const call = async (keys: object): Promise<unknown> =>
    form(
      env,
      JSON.stringify({ cniVersion: '1.1.0', name: 'test', type: 'tuning', dataDir: dataDir(), prevResult, ...keys }),
    )
  const refused = (text: string): object => ({ exitCode: 1, stdout: expect.stringContaining(text) as string })
  expect(await call({ ...all, mtu: 100_000 })).toMatchObject(refused('EINVAL: set mac, promiscuous, mtu'))
  expect([await link(one), sysctl(one, 'net/ipv4/conf/eth0/rp_filter')]).toEqual(before)
  expect(existsSync(dataDir()) ? readdirSync(dataDir()) : []).toEqual([])
  const unknown = { 'net.ipv4.conf.eth0.rp_filter': '2', 'net.ipv4.conf.none.rp_filter': '1' }
  expect(await call({ sysctl: unknown })).toMatchObject(refused('/proc/sys/net/ipv4/conf/none/rp_filter cannot be set'))
  expect(sysctl(one, 'net/ipv4/conf/eth0/rp_filter')).toBe(before[1])
  expect(await call({ mac: '02:00' })).toMatchObject(refused('mac: must be a MAC'))
  expect(await call({ mtu: 'x' })).toMatchObject(refused('tuning: mtu: '))
  expect(await call({ prevResult: undefined })).toMatchObject(refused('Required prevResult missing'))
})

test('a MAC may come by capability, args and CNI_ARGS, all else by args', async () => {
  use({ mtu: 1300, mac: '02:00:00:00:00:01' }, { mac: true })
  const cni = machine.open()
  const [one, two, three] = [pod('one'), pod('two'), pod('three')]
  await cni.add({ ...one, capabilityArgs: { mac: '02:00:00:00:00:03' }, args: { MAC: '02:00:00:00:00:02' } })
  await cni.add({ ...two, args: { MAC: '02:00:00:00:00:02' } })
  await cni.add(three)
  expect(await Promise.all([one, two, three].map(async ({ netns }) => link(netns)))).toMatchObject([
    { mac: '02:00:00:00:00:03', mtu: 1300 },
    { mac: '02:00:00:00:00:02' },
    { mac: '02:00:00:00:00:01' },
  ])
  const cniArgs = { sysctl: { 'net.b': '2', 'net.c': '3' }, mtu: 9, promisc: false, allmulti: false, txQLen: 0 }
  const own = { ...all, sysctl: { 'net.a': '1', 'net.b': '1' } }
  expect(parseTuning({ type: 'tuning', name: 'n', cniVersion: '1.1.0', ...own, args: { cni: cniArgs } })).toEqual({
    ...cniArgs,
    sysctl: { 'net.a': '1', 'net.b': '2', 'net.c': '3' },
    dataDir: '/run/cni/tuning',
  })
})

describe('which sysctls', () => {
  test.each([
    ['kernel.shmmax', 'invalid net sysctl key: "kernel.shmmax"'],
    ['/net/ipv4/ip_forward', 'invalid net sysctl key'],
    ['net', 'invalid net sysctl key'],
  ])('%s is refused', (key, message) => {
    expect(() => sysctlFiles({ sysctl: { [key]: '1' } }, 'eth0')).toThrow(message)
  })
  test('a file may be named once', () => {
    const twice = { 'net.ipv4.conf.eth0.arp_filter': '1', 'net/ipv4/conf/IFNAME/arp_filter': '0' }
    expect(() => sysctlFiles({ sysctl: twice }, 'eth0')).toThrow('duplicated sysctl keys are not allowed')
    expect([...sysctlFiles({ sysctl: twice }, 'eth0.5').keys()]).toEqual([
      'net/ipv4/conf/eth0/arp_filter',
      'net/ipv4/conf/eth0.5/arp_filter',
    ])
  })
  test('a list of expressions says what is allowed', () => {
    const allowed = parseAllowList('\n ^net\\.core\\.somaxconn$ \nrp_filter\n')
    sysctlFiles({ sysctl: { 'net.core.somaxconn': '1', 'net.ipv4.conf.IFNAME.rp_filter': '1' } }, 'eth0', allowed)
    expect(() => sysctlFiles({ sysctl: { 'net.ipv4.ip_forward': '1' } }, 'eth0', allowed)).toThrow(
      'Sysctl net.ipv4.ip_forward is not allowed. Only the following sysctls are allowed: [^net\\.core\\.somaxconn$ rp_filter]',
    )
    expect(() => parseAllowList('(')).toThrow('allowlist.conf: Invalid regular expression')
  })
  test('the list is where the reference plugin has it', async () => {
    const folder = join(machine.folder, 'programs')
    mkdirSync(folder)
    const script = join(folder, 'tuning')
    const list = `mount -t tmpfs none /etc; mkdir -p /etc/cni/tuning; echo rp_filter > /etc/cni/tuning/allowlist.conf`
    const own = join(programs().folder, 'tuning')
    writeFileSync(script, `#!/bin/sh\nexec unshare -m sh -c '${list}; exec ${own}'\n`, { mode: 0o755 })
    const form = program(script, { hostNetns: machine.host })
    const config = { cniVersion: '1.1.0', name: 'test', type: 'tuning', sysctl: { 'net.ipv4.ip_forward': '1' } }
    const answer = await form({ CNI_COMMAND: 'STATUS', CNI_PATH: '/' }, JSON.stringify(config))
    expect(JSON.parse(answer.stdout)).toMatchObject({
      code: 50,
      msg: expect.stringContaining('is not allowed') as string,
    })
    const fine = { ...config, sysctl: { 'net.ipv4.conf.all.rp_filter': '1' } }
    expect(await form({ CNI_COMMAND: 'STATUS', CNI_PATH: '/' }, JSON.stringify(fine))).toMatchObject({ exitCode: 0 })
  })
})

const prevResult: CniResult = {
  cniVersion: '1.0.0',
  interfaces: [{ name: 'eth0', sandbox: '/pod' }],
  ips: [],
  routes: [],
  dns: {},
}

test("Debian's tunes the same, and each restores what the other tuned", async () => {
  const hostNetns = machine.host
  const forms: PluginForm[] = [
    inProcess(tuning, { hostNetns, addressDir: machine.folder }),
    program('/usr/lib/cni/tuning', { hostNetns }),
  ]
  const one = machine.pod('one')
  machine.run(one, 'ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'other')
  const { txQLen: _, ...keys } = { ...all, mac: all.mac.toLowerCase() } // which Debian's does not know
  const config = { cniVersion: '1.0.0', name: 'test', type: 'tuning', dataDir: dataDir(), ...keys, prevResult }
  const call = async (form: PluginForm | undefined, command: string): Promise<CniResult | undefined> => {
    const env = { CNI_COMMAND: command, CNI_CONTAINERID: 'one', CNI_NETNS: one, CNI_IFNAME: 'eth0', CNI_PATH: '/' }
    const answer = await form?.(env, JSON.stringify(config))
    expect(answer).toMatchObject({ exitCode: 0 })
    return answer?.stdout ? (JSON.parse(answer.stdout) as CniResult) : undefined
  }
  const before = await link(one)
  const seen = []
  for (const [adds, dels] of [forms, forms.toReversed()]) {
    const result = await call(adds, 'ADD')
    const backup = JSON.parse(readFileSync(join(dataDir(), 'one_eth0.json'), 'utf8')) as { network?: string }
    const { network: __, ...known } = backup
    seen.push([await link(one), sysctl(one, 'net/ipv4/conf/eth0/rp_filter'), result?.interfaces, known])
    await call(dels, 'DEL')
    expect(await link(one)).toEqual(before)
    expect(readdirSync(dataDir())).toEqual([])
  }
  expect(seen[0]).toEqual(seen[1])
})
