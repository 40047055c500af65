import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Cni, CniResult, PodNetwork } from '../src/index.ts'
import { firewall } from '../src/plugins/firewall/firewall.ts'
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
function network(at: number, firewallKeys: object | undefined): Cni {
  const confDir = join(machine.folder, `net-${at}.d`)
  mkdirSync(confDir)
  const ranges = [[{ subnet: `10.77.${at}.0/24` }], [{ subnet: `fd77:${at}::/64` }]]
  const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }]
  const bridge = { type: 'bridge', bridge: `br${at}`, isGateway: true, ipam: { type: 'host-local', ranges, routes } }
  const plugins = firewallKeys ? [bridge, { type: 'firewall', backend: 'iptables', ...firewallKeys }] : [bridge]
  writeFileSync(join(confDir, '10.conflist'), JSON.stringify({ cniVersion: '1.1.0', name: `net${at}`, plugins }))
  return machine.open({ confDir })
}

interface TestPod extends PodNetwork {
  /** Its addresses. */
  ips: string[]
}
async function addPod(cni: Cni, name: string): Promise<TestPod> {
  const pod = { containerId: name, netns: machine.pod(name), ifName: 'eth0' }
  const { ips } = await cni.add(pod)
  return { ...pod, ips: ips.map(({ address }) => address.split('/')[0] ?? '') }
}

/** Of each address, whether it answers. */
const answers = (from: { netns: string }, { ips }: { ips: string[] }): boolean[] =>
  ips.map((address) => {
    try {
      machine.run(from.netns, 'busybox', 'ping', '-c', '1', '-W', '2', address)
      return true
    } catch (error) {
      expect((error as { status: unknown }).status).toBe(1) // no answer
      return false
    }
  })
const iptables = (...args: string[]): void => {
  for (const name of ['iptables', 'ip6tables']) machine.run(machine.host, name, '-w', '5', ...args)
}
const saved = (name = 'iptables'): string[] =>
  machine
    .run(machine.host, `${name}-save`, '-t', 'filter')
    .split('\n')
    .filter((line) => /^(-A|:CNI)/.test(line))
const yes = [true, true]
const no = [false, false]

test(
  'a pod talks to others through a FORWARD chain that drops the rest, and is not talked to',
  { timeout: 60_000 },
  async () => {
    const outside = addClient(machine)
    const cni = network(1, {})
    const one = await addPod(cni, 'one')
    const bare = await addPod(network(2, undefined), 'bare')
    iptables('-P', 'FORWARD', 'DROP')
    expect(answers(bare, outside)).toEqual(no)
    expect(answers(one, outside)).toEqual(yes)
    expect(answers(outside, one)).toEqual(no)
    await cni.check(one)
    // The administrator's rules go first, either way.
    iptables('-A', 'CNI-ADMIN', '-i', 'uplink', '-j', 'ACCEPT')
    expect(answers(outside, one)).toEqual(yes)
    iptables('-F', 'CNI-ADMIN')
    iptables('-A', 'CNI-ADMIN', '-o', 'uplink', '-j', 'DROP')
    expect(answers(one, outside)).toEqual(no)
    iptables('-F', 'CNI-ADMIN')
    expect(answers(one, outside)).toEqual(yes)
    await cni.del(one)
    expect(saved().filter((line) => line.includes('10.77.1.2'))).toEqual([])
    expect(saved('ip6tables').filter((line) => line.includes('fd77:1::2'))).toEqual([])
  },
)

test(
  'same-bridge: bridges that have it are kept apart, one stays together, others come in',
  { timeout: 60_000 },
  async () => {
    const outside = addClient(machine)
    const keys = { ingressPolicy: 'same-bridge' }
    const [first, second, open] = [network(1, keys), network(2, keys), network(3, {})]
    const pods = [await addPod(first, 'one'), await addPod(first, 'other'), await addPod(second, 'two')] as const
    const free = await addPod(open, 'free')
    const [one, other, two] = pods
    expect(answers(one, other)).toEqual(yes)
    expect(answers(one, two)).toEqual(no)
    expect(answers(two, one)).toEqual(no)
    expect(answers(outside, one)).toEqual(yes)
    expect(answers(one, outside)).toEqual(yes)
    expect(answers(one, free)).toEqual(yes)
    await first.check(one)
    iptables('-D', 'FORWARD', '1')
    await expect(first.check(one)).rejects.toThrow('firewall: a rule is missing in table filter: -A FORWARD -m comment')
  },
)

test('isolated: also pods of one bridge do not talk to each other', { timeout: 60_000 }, async () => {
  const outside = addClient(machine)
  const toIptables = 'for one in ip ip6; do echo 1 > /proc/sys/net/bridge/bridge-nf-call-${one}tables; done'
  const [alone, together] = [network(1, { ingressPolicy: 'isolated' }), network(2, { ingressPolicy: 'same-bridge' })]
  const [one, other] = [await addPod(alone, 'one'), await addPod(alone, 'other')]
  const [two, friend] = [await addPod(together, 'two'), await addPod(together, 'friend')]
  machine.run(machine.host, 'sh', '-c', toIptables)
  expect(answers(one, other)).toEqual(no)
  expect(answers(two, friend)).toEqual(yes)
  expect(answers(one, two)).toEqual(no)
  expect(answers(one, outside)).toEqual(yes)
  await alone.check(one)
})

test('what is not on record goes by the table itself: DEL without a result, GC', async () => {
  const cni = network(1, {})
  await cni.status()
  const [one, two] = [await addPod(cni, 'one'), await addPod(cni, 'two')]
  await addPod(network(2, {}), 'other-network')
  // Of a dead pod whose address the next one got.
  const stale = saved().filter((line) => line.includes('10.77.1.2/32'))
  expect(stale).toHaveLength(3)
  for (const line of stale) {
    iptables4(line.replace('id: \\"one\\"', 'id: \\"dead\\"'))
  }
  rmSync(join(machine.folder, 'cache'), { recursive: true })
  await cni.gc([{ containerId: 'one', ifName: 'eth0' }])
  expect(saved().filter((line) => line.includes('10.77.1.2/32'))).toEqual(stale)
  expect(saved().filter((line) => line.includes('10.77.1.3/32'))).toEqual([])
  expect(saved().filter((line) => line.includes('10.77.2.2/32'))).toHaveLength(3)
  await cni.del(one) // of which nothing is on record
  expect([...saved(), ...saved('ip6tables')].filter((line) => /10\.77\.1|fd77:1:/.test(line))).toEqual([])
  await cni.del(two)
})

/** One line of iptables-save. */
const iptables4 = (line: string): string =>
  execFileSync('nsenter', [`--net=${machine.host}`, '--', 'iptables-restore', '--noflush', '-w', '5'], {
    input: `*filter\n${line}\nCOMMIT\n`,
    encoding: 'utf8',
  })

const prevResult: CniResult = {
  cniVersion: '1.0.0',
  interfaces: [{ name: 'br0' }, { name: 'eth0', sandbox: '/pod' }],
  ips: [
    { address: '10.77.0.2/24', interface: 1 },
    { address: 'fd77::2/112', interface: 1 },
  ],
  routes: [],
  dns: {},
}

test.each([{}, { ingressPolicy: 'same-bridge', iptablesAdminChainName: 'MINE' }])(
  "Debian's makes the same rules of %j, and each takes away what the other made",
  async (keys) => {
    const forms: PluginForm[] = [
      inProcess(firewall, { hostNetns: machine.host, addressDir: machine.folder }),
      program('/usr/lib/cni/firewall', { hostNetns: machine.host }),
    ]
    const netns = machine.pod('pod')
    const config = { cniVersion: '1.0.0', name: 'test', type: 'firewall', backend: 'iptables', ...keys, prevResult }
    const call = async (form: PluginForm | undefined, command: string): Promise<void> => {
      const env = { CNI_CONTAINERID: 'one', CNI_NETNS: netns, CNI_IFNAME: 'eth0', CNI_PATH: '/' }
      expect(await form?.({ ...env, CNI_COMMAND: command }, JSON.stringify(config))).toMatchObject({ exitCode: 0 })
    }
    const seen = []
    for (const [adds, dels] of [forms, forms.toReversed()]) {
      await call(adds, 'ADD')
      seen.push([...saved(), ...saved('ip6tables')].filter((line) => !line.includes('CNI-FORWARD-OWNERS')))
      for (const form of forms) await call(form, 'CHECK')
      await call(dels, 'DEL')
      const left = [...saved(), ...saved('ip6tables')].filter((line) => /10\.77|fd77/.test(line))
      // The note of ours alone stays after Debian's DEL, until DEL or GC of ours.
      expect(left.filter((line) => !line.includes('CNI-FORWARD-OWNERS'))).toEqual([])
      await call(forms[0], 'DEL')
      expect([...saved(), ...saved('ip6tables')].filter((line) => /10\.77|fd77/.test(line))).toEqual([])
      machine.run(machine.host, 'nft', 'flush', 'ruleset')
    }
    expect(seen[0]).toEqual(seen[1])
  },
)

test.each([
  [{ backend: 'pf' }, 'firewall: backend: '],
  [{ ingressPolicy: 'closed' }, 'firewall: unknown ingress policy: \\"closed\\"'],
  [{ iptablesAdminChainName: 'a b' }, 'firewall: iptablesAdminChainName: must be the name of a chain'],
  [
    { ingressPolicy: 'isolated', prevResult: { ...prevResult, interfaces: [] } },
    'interface needs to be set for ingress policy',
  ],
  [{ prevResult: undefined }, 'missing prevResult from earlier plugin'],
])('%j is refused: %s', async (keys, message) => {
  const form = inProcess(firewall, { hostNetns: machine.host, addressDir: machine.folder })
  const env = { CNI_CONTAINERID: 'one', CNI_NETNS: machine.pod('pod'), CNI_IFNAME: 'eth0', CNI_PATH: '/' }
  const config = { cniVersion: '1.0.0', name: 'test', type: 'firewall', backend: 'iptables', prevResult, ...keys }
  const { stdout, exitCode } = await form({ ...env, CNI_COMMAND: 'ADD' }, JSON.stringify(config))
  expect([exitCode, stdout]).toEqual([1, expect.stringContaining(message)])
  expect(saved()).toEqual([])
})
