import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { z } from 'zod'
import { definePlugin, standardPlugins } from '../../src/index.ts'
import type { CniResult, PodNetwork } from '../../src/index.ts'
import { makeMachine } from '../machine.ts'
import type { TestMachine } from '../machine.ts'

const ipam = { type: 'host-local', ranges: [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd77::/112' }]] }
const bridge = { type: 'bridge', bridge: 'br0', isGateway: true, capabilities: { ips: true }, ipam }
let machine: TestMachine

beforeEach(() => {
  machine = makeMachine({ cniVersion: '1.1.0', name: 'test', plugins: [bridge] })
})
afterEach(() => machine[Symbol.dispose]())

const use = (list: object): void =>
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify({ name: 'test', ...list }))
const pod = (name: string, more: Partial<PodNetwork> = {}): PodNetwork => ({
  containerId: name,
  netns: machine.pod(name),
  ifName: 'eth0',
  ...more,
})
const seen = (name: string): string => readFileSync(join(machine.folder, name), 'utf8')
/** A program that keeps what it is told, passes on what was before, and speaks these versions. */
function program(type: string, versions: string[], more = ''): void {
  const body = `#!/bin/sh
if [ $CNI_COMMAND = VERSION ]; then echo '${JSON.stringify({ cniVersion: '1.0.0', supportedVersions: versions })}'; exit; fi
cat > ${machine.folder}/${type}.$CNI_COMMAND
echo $CNI_CONTAINERID >> ${machine.folder}/${type}.calls.$CNI_COMMAND
${more}
[ $CNI_COMMAND = ADD ] && echo '{"ips":[{"address":"10.1.1.1/32"}]}'
exit 0
`
  writeFileSync(join(machine.folder, 'bin', type), body, { mode: 0o755 })
}
const addresses = ({ ips }: CniResult): string[] => ips.map(({ address }) => address)
const held = (): string[] =>
  readdirSync(join(machine.folder, 'cache/networks/test')).filter((name) => !/^(last_|lock$)/.test(name))

test('a plugin is told of the capabilities that it declares, and of no other', async () => {
  program('one', ['1.0.0'])
  program('two', ['1.0.0'])
  use({
    cniVersion: '1.0.0',
    plugins: [
      { type: 'one', capabilities: { portMappings: true, mac: true, dns: false } },
      { type: 'two', capabilities: { bandwidth: true, deviceID: true } },
    ],
  })
  const portMappings = [{ hostPort: 80, containerPort: 8080, protocol: 'tcp' as const }]
  const capabilityArgs = { mac: '02:00:00:00:00:01', dns: { servers: ['10.0.0.1'] }, bandwidth: { ingressRate: 1 } }
  await machine.cni.add(pod('a', { portMappings, capabilityArgs }))
  expect(JSON.parse(seen('one.ADD'))).toMatchObject({ runtimeConfig: { portMappings, mac: capabilityArgs.mac } })
  const told = JSON.parse(seen('two.ADD')) as { runtimeConfig: object }
  expect(told.runtimeConfig).toEqual({ bandwidth: capabilityArgs.bandwidth })
})

test.each([
  ['the capability ips', { capabilityArgs: { ips: ['10.77.0.9/24', 'fd77::9'] } }, {}],
  ['CNI_ARGS', { args: { IP: '10.77.0.9,fd77:0::9' } }, {}],
  ['args.cni.ips', {}, { args: { cni: { ips: ['10.77.0.9', 'fd77::9'] } } }],
])('addresses that are asked for by %s are given', async (_, network, config) => {
  use({ cniVersion: '1.0.0', plugins: [{ ...bridge, ...config }] })
  expect(addresses(await machine.cni.add(pod('a', network)))).toEqual(['10.77.0.9/24', 'fd77::9/112'])
  expect(machine.run(join(machine.folder, 'a'), 'ip', '-o', 'addr')).toContain('10.77.0.9/24')
})

test.each([
  [['10.77.0.2'], 'requested IP address 10.77.0.2 is not available in range set 10.77.0.1-10.77.0.254'],
  [['10.77.0.1'], "requested ip 10.77.0.1 is subnet's gateway"],
  [['10.77.0.5', '10.77.0.6'], 'failed to allocate all requested IPs: 10.77.0.6'],
  [['10.99.0.1'], 'failed to allocate all requested IPs: 10.99.0.1'],
  [['ten'], 'requested IP: '],
])('a wish for %j that cannot be granted fails, and takes nothing', async (ips, message) => {
  await machine.cni.add(pod('a'))
  const before = held()
  await expect(machine.cni.add(pod('b', { capabilityArgs: { ips } }))).rejects.toThrow(message)
  expect(held()).toEqual(before)
})

test('a version that a program does not speak is refused before anything is done', async () => {
  program('old', ['0.3.1', '0.4.0'])
  use({ cniVersion: '1.0.0', plugins: [bridge, { type: 'old' }] })
  const expected = {
    code: 1,
    message: 'incompatible CNI versions: network "test" is of "1.0.0", plugin "old" supports ["0.3.1" "0.4.0"]',
  }
  await expect(machine.cni.status()).rejects.toMatchObject(expected)
  await expect(machine.cni.add(pod('a'))).rejects.toMatchObject(expected)
  expect(existsSync(join(machine.folder, 'cache/attachments/a-eth0.json'))).toBe(false)
  use({ cniVersion: '1.0.0', cniVersions: ['0.4.0'], plugins: [bridge, { type: 'old' }] })
  await expect(machine.cni.status()).rejects.toMatchObject(expected) // the highest is spoken
  use({ cniVersion: '0.4.0', plugins: [bridge, { type: 'old' }] })
  await machine.cni.add(pod('b'))
  expect(JSON.parse(seen('old.ADD'))).toMatchObject({
    cniVersion: '0.4.0',
    prevResult: { cniVersion: '0.4.0', ips: [{ version: '4', address: '10.77.0.2/24' }, { version: '6' }] },
  })
})

test('CHECK asks the plugins with the whole result, and says what is not so', async () => {
  program('last', ['1.0.0'], `[ $CNI_COMMAND = CHECK ] && [ -e ${machine.folder}/bad ] && exit 1`)
  use({ cniVersion: '1.0.0', plugins: [{ type: 'last' }] })
  await expect(machine.cni.check({ containerId: 'a', ifName: 'eth0' })).rejects.toMatchObject({ code: 3 })
  await machine.cni.add(pod('a'))
  await machine.cni.check({ containerId: 'a', ifName: 'eth0' })
  expect(JSON.parse(seen('last.CHECK'))).toMatchObject({ prevResult: { ips: [{ address: '10.1.1.1/32' }] } })
  writeFileSync(join(machine.folder, 'bad'), '')
  await expect(machine.cni.check({ containerId: 'a', ifName: 'eth0' })).rejects.toThrow(
    'plugin type="last" failed (check)',
  )
  use({ cniVersion: '1.0.0', disableCheck: true, plugins: [{ type: 'last' }] })
  await machine.cni.add(pod('b'))
  await machine.cni.check({ containerId: 'b', ifName: 'eth0' })
  use({ cniVersion: '0.3.1', plugins: [bridge] })
  await machine.cni.add(pod('c'))
  await expect(machine.cni.check({ containerId: 'c', ifName: 'eth0' })).rejects.toThrow(
    'configuration version "0.3.1" does not support the CHECK command',
  )
})

test('STATUS looks at the configuration of every plugin', async () => {
  await machine.cni.status()
  use({ cniVersion: '1.0.0', plugins: [bridge, { type: 'portmap', markMasqBit: 99 }] })
  await expect(machine.cni.status()).rejects.toThrow('portmap: markMasqBit')
})

test('GC takes off what is not valid: what is on record by DEL, what nobody knows of by the plugins', async () => {
  program('knows', ['1.1.0'])
  use({ cniVersion: '1.1.0', plugins: [bridge, { type: 'knows' }] })
  const [a] = [await machine.cni.add(pod('a')), await machine.cni.add(pod('b')), await machine.cni.add(pod('c'))]
  expect(held()).toHaveLength(6)
  rmSync(join(machine.folder, 'cache/attachments/c-eth0.json')) // a leak: only its address files tell
  rmSync(join(machine.folder, 'cache/results/test-c-eth0'))
  const valid = [{ containerId: 'a', ifName: 'eth0' }]
  await machine.cni.gc(valid)
  expect(held().toSorted()).toEqual(['10.77.0.2', 'fd77::2'])
  expect(addresses(a ?? ({ ips: [] } as never))).not.toEqual([])
  expect(seen('knows.calls.DEL')).toBe('b\n')
  expect(JSON.parse(seen('knows.GC'))).toMatchObject({
    'cni.dev/valid-attachments': [{ containerID: 'a', ifname: 'eth0' }],
  })
  use({ cniVersion: '1.1.0', disableGC: true, plugins: [bridge, { type: 'knows' }] })
  await machine.cni.gc([])
  expect(held()).toEqual([]) // what is on record is owed all the same
  expect(seen('knows.calls.GC')).toBe('\n')
})

test('GC goes on past a plugin that fails, and waits for an ADD that runs', async () => {
  program('slow', ['1.1.0'], '[ $CNI_COMMAND = ADD ] && sleep 0.3; [ $CNI_COMMAND = GC ] && exit 1')
  use({ cniVersion: '1.1.0', plugins: [{ type: 'slow' }, bridge] })
  const adding = machine.cni.add(pod('a'))
  const collected = machine.cni.gc([{ containerId: 'a', ifName: 'eth0' }])
  await expect(collected).rejects.toThrow('plugin type="slow" failed (gc)')
  expect(addresses(await adding)).toContain('10.77.0.2/24')
  expect(held()).toHaveLength(2)
})

test('what another program of libcni kept is enough for DEL', async () => {
  program('keeps', ['1.0.0'])
  use({ cniVersion: '1.0.0', plugins: [{ type: 'keeps', capabilities: { mac: true } }] })
  const one = pod('a', { capabilityArgs: { mac: '02:00:00:00:00:01' } })
  await machine.cni.add(one)
  rmSync(join(machine.folder, 'cache/attachments/a-eth0.json'))
  await machine.cni.del(one)
  expect(JSON.parse(seen('keeps.DEL'))).toMatchObject({
    runtimeConfig: { mac: '02:00:00:00:00:01' },
    prevResult: { ips: [{ address: '10.1.1.1/32' }] },
  })
  expect(existsSync(join(machine.folder, 'cache/results/test-a-eth0'))).toBe(false)
})

test('a type is looked for in this process first, unless all are to be programs', async () => {
  const marker = definePlugin({
    name: 'marker',
    config: z.object({ domain: z.string() }),
    add: async ({ config, prevResult, cniVersion }) => ({
      ...(prevResult ?? { cniVersion, interfaces: [], ips: [], routes: [] }),
      dns: { domain: config.domain },
    }),
    del: async () => undefined,
  })
  use({ cniVersion: '1.0.0', plugins: [bridge, { type: 'marker', domain: 'example.test' }] })
  const own = machine.open({ plugins: [...standardPlugins, marker] })
  expect((await own.add(pod('a'))).dns).toEqual({ domain: 'example.test' })
  await own.del({ containerId: 'a', netns: '', ifName: 'eth0' })
  use({ cniVersion: '1.0.0', plugins: [{ type: 'marker', domain: 7 }] })
  await expect(own.add(pod('b'))).rejects.toThrow(/plugin type="marker" failed \(add\): marker: domain: /)
  program('bridge', ['1.0.0'])
  use({ cniVersion: '1.0.0', plugins: [bridge] })
  expect(addresses(await machine.open({ plugins: [] }).add(pod('c')))).toEqual(['10.1.1.1/32'])
})

test('an ADD that fails is told by its own error, though an address cannot be given back either', async () => {
  const faulty = definePlugin({
    name: 'faulty',
    config: z.object({}),
    add: async () => ({ cniVersion: '1.1.0', interfaces: [], ips: [], routes: [], dns: {} }),
    del: async () => {
      throw new Error('the address stays')
    },
  })
  use({ cniVersion: '1.1.0', plugins: [{ type: 'bridge', bridge: 'br0', ipam: { type: 'faulty' } }] })
  const warned: string[] = []
  const log = { warn: (_fields: object, message: string): void => void warned.push(message) }
  const cni = machine.open({ plugins: [...standardPlugins, faulty], log })
  await expect(cni.add(pod('a'))).rejects.toThrow('IPAM plugin returned missing IP config')
  expect(warned).toContain('an ADD that failed is undone in part only')
  expect(machine.run(machine.host, 'ip', '-o', 'link')).not.toMatch(/veth/)
})
