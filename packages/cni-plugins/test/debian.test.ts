// Peers: the reference plugins of Debian under our libcni, ours beside and under theirs.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { standardPlugins } from '../src/index.ts'
import type { Cni, PodNetwork } from '../src/index.ts'
import { inProcess, program } from '../src/testing/index.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { usePrograms } from './programs.ts'

const debian = '/usr/lib/cni'
const programs = usePrograms()
let machine: TestMachine

beforeEach(() => {
  machine = makeMachine({})
})
afterEach(() => machine[Symbol.dispose]())

const use = (list: object): void =>
  writeFileSync(
    join(machine.folder, 'net.d/10-test.conflist'),
    JSON.stringify({ cniVersion: '1.0.0', name: 'test', ...list }),
  )
const pod = (name: string): PodNetwork => ({
  containerId: name,
  netns: machine.pod(name),
  ifName: 'eth0',
  pod: { namespace: 'default', name, uid: name },
  portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
  capabilityArgs: { bandwidth: { ingressRate: 1_000_000, ingressBurst: 1_000_000 } },
})
const dataDir = (): string => join(machine.folder, 'addresses')
const ipam = (): object => ({
  type: 'host-local',
  dataDir: dataDir(),
  ranges: [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd77::/112' }]],
})
const bridge = (): object => ({ type: 'bridge', bridge: 'br0', isGateway: true, ipMasq: true, ipam: ipam() })
const portmap = { type: 'portmap', capabilities: { portMappings: true } }
const held = (): string[] => readdirSync(join(dataDir(), 'test')).filter((name) => isIP(name) === 4)
const rulesOf = (name: string): string[] =>
  machine
    .run(machine.host, 'iptables-save', '-t', 'nat')
    .split('\n')
    .filter((line) => line.includes(`id: \\"${name}\\"`))
const programsOnly = (...binDirs: string[]): Cni => machine.open({ plugins: [], binDirs })

/** CHECK of Debian's portmap 1.1.1 looks for IPv4's rules in IPv6's tables, too. */
async function comesAndGoes(cni: Cni, { checks = true } = {}): Promise<void> {
  await cni.status()
  const one = pod('one')
  const result = await cni.add(one)
  expect(result.ips[0]?.address).toBe('10.77.0.2/24')
  expect(result.interfaces.at(-1)).toMatchObject({ name: 'eth0', sandbox: one.netns })
  expect(machine.run(one.netns, 'ip', '-o', 'addr', 'show', 'eth0')).toContain('10.77.0.2/24')
  expect(rulesOf('one')).not.toEqual([])
  if (checks) await cni.check(one)
  await cni.del(one)
  await cni.del(one)
  expect([held(), rulesOf('one')]).toEqual([[], []])
  expect(machine.run(machine.host, 'ip', '-o', 'link')).not.toContain('veth')
}

test("Debian's plugins under our libcni", async () => {
  const tuning = { type: 'tuning', mtu: 1400 }
  const bandwidth = { type: 'bandwidth', capabilities: { bandwidth: true } }
  use({ plugins: [bridge(), portmap, tuning, bandwidth] })
  await comesAndGoes(programsOnly(debian), { checks: false })
  use({ plugins: [bridge(), tuning] })
  const [cni, one] = [programsOnly(debian), pod('two')]
  await cni.add(one)
  await cni.check(one)
  machine.run(one.netns, 'ip', 'link', 'set', 'eth0', 'mtu', '1300')
  await expect(cni.check(one)).rejects.toThrow('plugin type="tuning" failed (check)')
  await cni.del(one)
})

test("ours in this process in a chain with Debian's", async () => {
  use({ plugins: [bridge(), { type: 'tuning', mtu: 1400 }, portmap, { type: 'firewall' }] })
  const plugins = standardPlugins.filter(({ name }) => !['tuning', 'firewall'].includes(name))
  await comesAndGoes(machine.open({ plugins, binDirs: [debian] }))
})

test('ours as programs, alone', async () => {
  use({ plugins: [bridge(), portmap] })
  await comesAndGoes(programsOnly(programs().folder))
})

test("Debian's bridge asks our host-local", async () => {
  use({ cniVersion: '0.4.0', plugins: [bridge(), portmap] })
  const folder = join(machine.folder, 'mixed')
  machine.run(machine.host, programs().program, 'link', folder, 'host-local')
  await comesAndGoes(programsOnly(folder, debian), { checks: false })
})

test.each(['0.1.0', '0.2.0', '0.3.1', '0.4.0'])(
  "our bridge and Debian's host-local understand each other in %s",
  async (cniVersion) => {
    use({ cniVersion, plugins: [bridge()] })
    const cni = machine.open({
      plugins: standardPlugins.filter(({ name }) => name !== 'host-local'),
      binDirs: [debian],
    })
    const one = pod('one')
    expect((await cni.add(one)).ips).toMatchObject([
      { address: '10.77.0.2/24', gateway: '10.77.0.1' },
      { address: 'fd77::2/112', gateway: 'fd77::1' },
    ])
    await cni.del(one)
    expect(held()).toEqual([])
  },
)

test('a version that Debian does not speak is refused with those that it does', async () => {
  use({ cniVersion: '1.1.0', plugins: [bridge()] })
  await expect(programsOnly(debian).status()).rejects.toMatchObject({
    code: 1,
    message: expect.stringContaining('plugin "bridge" supports ["0.1.0" ') as string,
  })
})

test('what one leaves the other takes away: results and addresses are in the same files', async () => {
  use({ plugins: [bridge(), portmap] })
  const [ours, theirs] = [machine.open(), programsOnly(debian)]
  const [one, two] = [pod('one'), pod('two')]
  await ours.add(one)
  await theirs.add(two)
  expect(readFileSync(join(dataDir(), 'test/10.77.0.3'), 'utf8')).toBe('two\r\neth0')
  await theirs.del(one)
  await ours.del(two)
  expect([held(), rulesOf('one'), rulesOf('two')]).toEqual([[], [], []])
})

test.each([
  ['conditions', { conditionsV4: ['!', '-s', '10.9.0.3'], conditionsV6: ['!', '-s', 'fd09::3'] }],
  ['a chain of somebody else', { externalSetMarkChain: 'OTHER-MARK' }],
  ['another mark', { markMasqBit: 5 }],
  ['no masquerading', { snat: false }],
])('portmap with %s is the same for both', async (_, more) => {
  use({ plugins: [bridge(), { ...portmap, ...more }] })
  for (const program of ['iptables', 'ip6tables']) machine.run(machine.host, program, '-t', 'nat', '-N', 'OTHER-MARK')
  const [ours, theirs] = [machine.open(), programsOnly(debian)]
  const ports = (name: string): string[] =>
    machine
      .run(machine.host, 'iptables-save', '-t', 'nat')
      .split('\n')
      .filter((line) => /HOSTPORT|CNI-DN/.test(line))
      .map((line) =>
        line
          .replaceAll(/CNI-DN-\w+/g, 'CHAIN')
          .replaceAll(name, 'NAME')
          .replaceAll(/10\.77\.0\.\d(?=:)/g, 'IP'),
      )
      .toSorted()
  const [one, two] = [pod('one'), pod('two')]
  await theirs.add(one)
  const made = ports('one')
  await ours.check(one)
  await ours.del(one)
  const shared = ports('one')
  await ours.add(two)
  expect(ports('two')).toEqual(made)
  await theirs.del(two)
  expect(ports('two')).toEqual(shared)
  machine.run(machine.host, 'iptables', '-t', 'nat', '-F')
  machine.run(machine.host, 'iptables', '-t', 'nat', '-X')
  machine.run(machine.host, 'iptables', '-t', 'nat', '-N', 'OTHER-MARK')
  await ours.add(pod('one-more'))
  expect(ports('one-more')).toEqual(made)
})

test('both kinds of host-local give from one pool at the same time, and no address twice', async () => {
  const hostNetns = machine.host
  const ours = standardPlugins.find(({ name }) => name === 'host-local')
  if (!ours) throw new Error('unreachable')
  const forms = [
    program(join(debian, 'host-local'), { hostNetns }),
    program(join(programs().folder, 'host-local'), { hostNetns }),
    inProcess(ours, { hostNetns, addressDir: dataDir() }),
  ]
  const input = JSON.stringify({ cniVersion: '1.0.0', name: 'test', type: 'host-local', ipam: ipam() })
  const call = async (command: string, id: number, form = forms[id % forms.length]): Promise<string> => {
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: `c${id}`,
      CNI_NETNS: '/n',
      CNI_IFNAME: 'eth0',
      CNI_PATH: debian,
    }
    const answer = await form?.(env, input)
    expect(answer).toMatchObject({ stderr: '', exitCode: 0, stdout: expect.not.stringContaining('code') as string })
    return answer?.stdout ?? ''
  }
  const ids = Array.from({ length: 30 }, (_, id) => id)
  const given = await Promise.all(ids.map(async (id) => call('ADD', id)))
  const addresses = given.map((out) => (JSON.parse(out) as { ips: { address: string }[] }).ips[0]?.address)
  expect(new Set(addresses).size).toBe(ids.length)
  expect(held()).toHaveLength(ids.length)
  // Each is given back by another kind than gave it.
  await Promise.all(ids.map(async (id) => call('DEL', id, forms[(id + 1) % forms.length])))
  expect(held()).toEqual([])
})
