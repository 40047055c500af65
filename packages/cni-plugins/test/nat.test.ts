// Host ports and masquerading in both backends, with real packets.
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { removeNetwork } from '../src/index.ts'
import type { PodNetwork, PortMapping } from '../src/index.ts'
import { oldHostPortChain } from '../src/names.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { makeTraffic } from './traffic.ts'
import type { Traffic } from './traffic.ts'

let machine: TestMachine
let traffic: Traffic
const usualPath = process.env['PATH']

beforeEach(() => {
  machine = makeMachine({})
  traffic = makeTraffic(machine)
})
afterEach(async () => {
  process.env['PATH'] = usualPath
  await traffic[Symbol.asyncDispose]()
  machine[Symbol.dispose]()
})

const use = ({ bridge, portmap }: { bridge?: object; portmap?: object }): void => {
  const ranges = [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd77::/112' }]]
  const ipam = { type: 'host-local', ranges }
  const plugins = [
    { type: 'bridge', bridge: 'br0', isDefaultGateway: true, hairpinMode: true, ipMasq: true, ipam, ...bridge },
    { type: 'portmap', capabilities: { portMappings: true }, ...portmap },
  ]
  const list = { cniVersion: '1.1.0', name: 'test', plugins }
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(list))
}
const useBackend = (backend: string | undefined): void =>
  use({ bridge: { ipMasqBackend: backend }, portmap: { backend } })
const tcp: PortMapping = { hostPort: 8081, containerPort: 80, protocol: 'tcp' }
const pod = (name: string, ...portMappings: PortMapping[]): PodNetwork => ({
  containerId: name,
  netns: machine.pod(name),
  ifName: 'eth0',
  portMappings,
})
const onHost = (...command: string[]): string => machine.run(machine.host, ...command)
const nftRules = (): string =>
  onHost('nft', 'list', 'ruleset')
    .replaceAll(/^table ip6? (nat|filter) \{[^]*?^\}$/gm, '')
    .trim()
const iptablesRules = (): string => onHost('iptables-save', '-t', 'nat') + onHost('ip6tables-save', '-t', 'nat')
const unused = /no answer/

describe.each(['iptables', 'nftables'])('%s', (backend) => {
  test('a pod is reached by host ports from all sides, and goes out by the address of the host', async () => {
    useBackend(backend)
    await machine.cni.status()
    const outside = await traffic.outside()
    const one = pod('one', tcp, { ...tcp, hostPort: 8082, hostIP: '10.9.0.1' }, { ...tcp, protocol: 'udp' })
    await machine.cni.add(one)
    await machine.cni.check(one)
    await Promise.all([traffic.serve(one.netns, 80, 'one'), traffic.serve(outside, 90, 'outside')])

    expect(await traffic.ask(outside, '10.9.0.1', 8081)).toBe('one 10.9.0.2')
    expect(await traffic.ask(outside, 'fd09::1', 8081)).toBe('one fd09::2')
    expect(await traffic.askByUdp(outside, '10.9.0.1', 8081)).toBe('one 10.9.0.2')
    expect(await traffic.askByUdp(outside, 'fd09::1', 8081)).toBe('one fd09::2')
    expect(await traffic.ask(machine.host, '127.0.0.1', 8081)).toBe('one 10.77.0.1')
    expect(await traffic.ask(machine.host, '10.9.0.1', 8081)).toMatch(/^one 10\./)
    expect(await traffic.ask(one.netns, '10.9.0.1', 8081)).toBe('one 10.77.0.1')
    expect(await traffic.ask(one.netns, 'fd09::1', 8081)).toBe('one fd77::1')
    expect(await traffic.ask(outside, '10.9.0.1', 8082)).toBe('one 10.9.0.2')
    await expect(traffic.ask(machine.host, '127.0.0.1', 8082)).rejects.toThrow(unused)
    await expect(traffic.ask(outside, 'fd09::1', 8082)).rejects.toThrow(unused)
    expect(await traffic.ask(one.netns, '10.9.0.2', 90)).toBe('outside 10.9.0.1')
    expect(await traffic.ask(one.netns, 'fd09::2', 90)).toBe('outside fd09::1')

    const [used, other] = backend === 'iptables' ? [iptablesRules, nftRules] : [nftRules, iptablesRules]
    expect(used()).toContain('one')
    expect(other()).not.toContain('one')
    await machine.cni.del(one)
    expect(used()).not.toContain('one')
    await machine.cni.del(one)
    await expect(traffic.ask(outside, '10.9.0.1', 8081)).rejects.toThrow(unused)
    await removeNetwork({ bridge: 'br0', hostNetns: machine.host })
    expect(`${nftRules()}${iptablesRules()}`).not.toMatch(/cni/i)
  })

  test('a UDP flow goes to the pod that has the port now', async () => {
    useBackend(backend)
    const outside = await traffic.outside()
    const mapping: PortMapping = { ...tcp, protocol: 'udp' }
    for (const name of ['one', 'two']) {
      const one = pod(name, mapping)
      await machine.cni.add(one)
      await traffic.serve(one.netns, 80, name)
      expect(await traffic.askByUdp(outside, '10.9.0.1', 8081)).toBe(`${name} 10.9.0.2`)
      await machine.cni.del(one)
    }
  })

  test('conditions choose who may come in', async () => {
    const [conditionsV4, conditionsV6] =
      backend === 'iptables'
        ? [
            ['!', '-s', '10.9.0.3'],
            ['-i', 'lo'],
          ]
        : [
            ['ip', 'saddr', '!=', '10.9.0.3'],
            ['iifname', 'lo'],
          ]
    use({ portmap: { conditionsV4, conditionsV6 } })
    const outside = await traffic.outside()
    const one = pod('one', tcp)
    await machine.cni.add(one)
    await machine.cni.check(one)
    await traffic.serve(one.netns, 80, 'one')
    expect(await traffic.ask(outside, '10.9.0.1', 8081, '10.9.0.2')).toBe('one 10.9.0.2')
    await expect(traffic.ask(outside, '10.9.0.1', 8081, '10.9.0.3')).rejects.toThrow(unused)
    await expect(traffic.ask(outside, 'fd09::1', 8081)).rejects.toThrow(unused)
    await machine.cni.del(one)
    const rules = backend === 'iptables' ? iptablesRules() : nftRules()
    expect(rules).not.toContain('one')
  })

  test('pods that come and go at the same time have all of their rules', async () => {
    useBackend(backend)
    const pods = Array.from({ length: 8 }, (_, at) => pod(`pod-${at}`, { ...tcp, hostPort: 8081 + at }))
    await Promise.all(pods.map(async (one) => machine.cni.add(one)))
    await Promise.all(pods.map(async (one) => machine.cni.check(one)))
    const [first, ...others] = pods
    if (!first) throw new Error('unreachable')
    await Promise.all(others.map(async (one) => machine.cni.del(one)))
    await machine.cni.check(first)
    await machine.cni.del(first)
    expect(`${nftRules()}${iptablesRules()}`).not.toContain('pod-')
  })

  test('GC takes the rules of pods that nobody knows, and leaves those of other networks', async () => {
    useBackend(backend)
    const [one, two] = [pod('one', tcp), pod('two', { ...tcp, hostPort: 8082 })]
    await machine.cni.add(one)
    await machine.cni.add(two)
    rmSync(join(machine.folder, 'cache'), { recursive: true })
    await machine.open({ cacheDir: join(machine.folder, 'cache') }).gc([two])
    const masquerading = (): string => (backend === 'iptables' ? iptablesRules() : onHost(...listMasquerading))
    expect(masquerading()).toContain('two')
    expect(masquerading()).not.toContain('one')
    const other = {
      cniVersion: '1.1.0',
      name: 'other',
      plugins: [{ type: 'bridge', ipMasq: true }, { type: 'portmap' }],
    }
    writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(other))
    await machine.open().gc([])
    expect(masquerading()).toContain('two')
  })
})
const listMasquerading = ['nft', 'list', 'table', 'inet', 'cni_plugins_masquerade']

test.each([
  ['hostports', 'tcp dport 8081 dnat to 10.77.0.2:80'],
  ['prerouting', 'prerouting'],
  ['masquerading', 'ip saddr 10.77.0.2 ip daddr 10.77.0.2 masquerade'],
])('CHECK misses what is lost of %s in nftables', async (chain, missing) => {
  useBackend('nftables')
  const one = pod('one', tcp)
  await machine.cni.add(one)
  await machine.cni.check(one)
  onHost('nft', 'flush', 'chain', 'ip', 'cni_hostport', chain)
  await expect(machine.cni.check(one)).rejects.toThrow(
    `portmap: rules are missing in table ip cni_hostport: ${missing}`,
  )
  await machine.cni.del(one)
})

test('on a machine without iptables rules are in nftables, unless iptables is asked for', async () => {
  const only = join(machine.folder, 'only')
  mkdirSync(only)
  symlinkSync('/usr/sbin/nft', join(only, 'nft'))
  useBackend(undefined)
  const outside = await traffic.outside()
  const one = pod('one', tcp)
  process.env['PATH'] = only
  await machine.cni.status()
  await machine.cni.add(one)
  await machine.cni.check(one)
  process.env['PATH'] = usualPath
  await traffic.serve(one.netns, 80, 'one')
  expect(await traffic.ask(outside, 'fd09::1', 8081)).toBe('one fd09::2')
  expect(await traffic.ask(machine.host, '127.0.0.1', 8081)).toBe('one 10.77.0.1')
  expect(nftRules().match(/one/g)).toHaveLength(7)
  process.env['PATH'] = only
  await machine.cni.del(one)
  await machine.cni.gc([])
  process.env['PATH'] = usualPath
  expect(nftRules()).not.toContain('one')

  useBackend('iptables')
  process.env['PATH'] = only
  await expect(machine.open().status()).rejects.toMatchObject({ code: 50 })
  await expect(machine.open().add(pod('two', tcp))).rejects.toThrow(/cannot run ip6?tables-.*install iptables/)
})

test('rules that another backend made are taken away with the pod', async () => {
  useBackend(undefined)
  const one = pod('one', tcp)
  await machine.cni.add(one)
  const made = nftRules()
  expect(made).toBe('')
  await machine.cni.del(one)
  useBackend('nftables')
  await machine.open().add(one)
  expect(nftRules()).toContain('one')
  useBackend(undefined)
  // As a runtime without a record asks.
  rmSync(join(machine.folder, 'cache/attachments'), { recursive: true })
  rmSync(join(machine.folder, 'cache/results'), { recursive: true })
  await machine.open().del(one)
  expect(nftRules()).not.toContain('one')
})

test('a chain of somebody else marks what is to be masqueraded', async () => {
  use({ portmap: { externalSetMarkChain: 'OTHER-MARK' } })
  onHost('iptables', '-t', 'nat', '-N', 'OTHER-MARK')
  onHost('ip6tables', '-t', 'nat', '-N', 'OTHER-MARK')
  onHost('iptables', '-t', 'nat', '-A', 'OTHER-MARK', '-j', 'MARK', '--set-xmark', '0x4000/0x4000')
  onHost('iptables', '-t', 'nat', '-A', 'POSTROUTING', '-m', 'mark', '--mark', '0x4000/0x4000', '-j', 'MASQUERADE')
  const one = pod('one', tcp)
  await machine.cni.add(one)
  await machine.cni.check(one)
  await traffic.serve(one.netns, 80, 'one')
  expect(await traffic.ask(machine.host, '127.0.0.1', 8081)).toBe('one 10.77.0.1')
  expect(await traffic.ask(one.netns, '10.77.0.1', 8081)).toBe('one 10.77.0.1')
  expect(iptablesRules()).not.toContain('CNI-HOSTPORT-SETMARK')
  await machine.cni.del(one)
  expect(iptablesRules()).not.toContain('one')
})

test('what old plugins left is taken away, too', async () => {
  use({})
  const chain = oldHostPortChain('test', 'old')
  onHost('iptables', '-t', 'nat', '-N', chain)
  onHost('iptables', '-t', 'nat', '-A', chain, '-s', '127.0.0.1', '-j', 'MASQUERADE')
  onHost('iptables', '-t', 'nat', '-A', 'POSTROUTING', '-j', chain)
  await machine.cni.del(pod('old'))
  expect(iptablesRules()).not.toContain('CNI-SN-')
})

test.each([
  [
    { backend: 'nftables', conditionsV4: ['-s', '10.0.0.0/8'] },
    'conditionsV4: of iptables, but the backend is nftables',
  ],
  [
    { backend: 'iptables', conditionsV6: ['ip6', 'saddr', 'fd00::/8'] },
    'conditionsV6: of nftables, but the backend is',
  ],
  [{ conditionsV4: ['!', '-s', '10.0.0.1'], conditionsV6: ['iif', 'lo'] }, 'conditionsV6: of nftables, but'],
  [{ backend: 'nftables', markMasqBit: 3 }, 'markMasqBit: of iptables, but the backend is nftables'],
  [{ markMasqBit: 3, externalSetMarkChain: 'X' }, 'cannot specify externalSetMarkChain and markMasqBit'],
  [{ markMasqBit: 32 }, 'markMasqBit: '],
  [{ conditionsV4: ['ip saddr 1.2.3.4; flush ruleset'] }, 'conditionsV4.0: must not have line ends or semicolons'],
  [{ runtimeConfig: { portMappings: [{ ...tcp, hostPort: 0 }] } }, 'runtimeConfig.portMappings.0.hostPort: '],
  [{ runtimeConfig: { portMappings: [{ ...tcp, hostIP: 'x' }] } }, 'runtimeConfig.portMappings.0.hostIP: '],
])('what does not fit together is refused: %j', async (portmap, message) => {
  use({ portmap: { capabilities: {}, ...portmap } })
  await expect(machine.cni.add(pod('one'))).rejects.toThrow(`portmap: ${message}`)
})
