// The rules of a kubelet, in the kernel.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { keepKubeletRules, removeNodeRules } from '@nodelet/proxy-rules'
import type { KubeletRulesOptions } from '@nodelet/proxy-rules'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { startSmallHost } from './small-host.ts'
import type { SmallHost } from './small-host.ts'

let host: SmallHost
let keeping: AsyncDisposable | undefined
let told: string[]
const eventually = { timeout: 15_000, interval: 20 }

beforeAll(async () => {
  host = await startSmallHost()
})
afterAll(() => host?.end())
afterEach(async () => {
  await keeping?.[Symbol.asyncDispose]()
  keeping = undefined
  await removeNodeRules({ netns: host.netns })
})

async function start(options: KubeletRulesOptions = {}): Promise<void> {
  told = []
  const tell = (level: string) => (fields: object, message: string) =>
    void told.push(`${level}: ${message} ${JSON.stringify(fields)}`)
  const log = { error: tell('error'), warn: tell('warn'), info: tell('info'), debug: tell('debug') }
  keeping = await keepKubeletRules({ netns: host.netns, log, ...options })
}

/** Chains and rules of a table, without those that the kernel has by itself. */
const table = async (family: 'iptables' | 'ip6tables', name: string): Promise<string[]> =>
  (await host.run(family, '-t', name, '-S'))
    .trim()
    .split('\n')
    .filter((line) => !line.startsWith('-P'))

const firewall =
  '-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" ' +
  '-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP'

test('both families have their chains, the firewall is asked first; a second start adds nothing', async () => {
  const mine = ['-s', '203.0.113.7', '-j', 'DROP']
  await host.run('iptables', '-A', 'INPUT', ...mine)
  await start()
  expect(told).toEqual([])
  expect(await table('iptables', 'filter')).toEqual([
    '-N KUBE-FIREWALL',
    '-N KUBE-KUBELET-CANARY',
    '-A INPUT -j KUBE-FIREWALL',
    '-A INPUT -s 203.0.113.7/32 -j DROP',
    '-A OUTPUT -j KUBE-FIREWALL',
    firewall,
  ])
  expect(await table('ip6tables', 'filter')).toEqual(['-N KUBE-KUBELET-CANARY'])
  for (const family of ['iptables', 'ip6tables'] as const) {
    expect(await table(family, 'mangle')).toEqual(['-N KUBE-IPTABLES-HINT', '-N KUBE-KUBELET-CANARY'])
  }
  const rules = await host.rules()
  await keeping?.[Symbol.asyncDispose]()
  expect(await host.rules()).toBe(rules)
  await start()
  expect(await host.rules()).toBe(rules)
  await removeNodeRules({ netns: host.netns })
  expect(await table('iptables', 'filter')).toEqual(['-A INPUT -s 203.0.113.7/32 -j DROP'])
  expect(await host.rules()).not.toContain('KUBE')
  await host.run('iptables', '-D', 'INPUT', ...mine)
})

test('what another version has in the shared chain stays, and is kept when all goes', async () => {
  const other = '-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP'
  await host.run('iptables', '-N', 'KUBE-FIREWALL')
  await host.run('iptables', ...other.split(' '))
  await start()
  expect(await table('iptables', 'filter')).toEqual([
    '-N KUBE-FIREWALL',
    '-N KUBE-KUBELET-CANARY',
    '-A INPUT -j KUBE-FIREWALL',
    '-A OUTPUT -j KUBE-FIREWALL',
    other,
    firewall,
  ])
  await removeNodeRules({ netns: host.netns })
  expect((await table('iptables', 'filter')).filter((line) => line.startsWith('-A KUBE'))).toEqual([other])
  await host.run('iptables', '-F')
  await host.run('iptables', '-X')
})

test('several that start at once make each rule once', async () => {
  await start()
  const rules = await host.rules()
  await removeNodeRules({ netns: host.netns })
  const all = await Promise.all(Array.from({ length: 4 }, async () => keepKubeletRules({ netns: host.netns })))
  expect(await host.rules()).toBe(rules)
  for (const one of all) await one[Symbol.asyncDispose]()
})

test.each([
  { flushed: ['mangle'], which: 'alone' },
  { flushed: ['mangle', 'nat', 'filter'], which: 'with all tables' },
])('a canary that was flushed $which brings all back', async ({ flushed }) => {
  await start({ periodMs: 50 })
  const rules = await host.rules()
  await host.run('iptables', '-D', 'INPUT', '-j', 'KUBE-FIREWALL')
  for (const name of flushed) {
    await host.run('iptables', '-t', name, '-F')
    await host.run('iptables', '-t', name, '-X')
  }
  await expect.poll(host.rules, eventually).toBe(rules)
  expect(told).toEqual([expect.stringMatching(/^warn: somebody has flushed .*"family":"IPv4"/)])
})

test('127.0.0.1 is not reached from outside, though the kernel would route it; all else is', async () => {
  await host.serve('host', 8080)
  for (const place of ['host', 'client'] as const) host.routeLocalnet(place)
  // The client takes 127.0.0.1 for an address behind its gateway.
  await host.runIn('client', 'ip', 'address', 'del', '127.0.0.1/8', 'dev', 'lo')
  await host.runIn('client', 'ip', 'route', 'add', '127.0.0.1/32', 'via', '10.99.3.1')
  const fromOutside = async (): Promise<string[]> => host.ask('client', 'tcp', '127.0.0.1:8080', 1)
  expect(await fromOutside()).toEqual(['host'])
  await start()
  expect(await fromOutside()).toEqual(['TIMEOUT'])
  expect(await host.ask('host', 'tcp', '127.0.0.1:8080', 1)).toEqual(['host'])
  expect(await host.ask('host', 'udp', '127.0.0.1:8080', 1)).toEqual(['host'])
  expect(await host.ask('client', 'tcp', '10.99.3.1:8080', 1)).toEqual(['host'])
})

test('without iptables it says so once, and makes the rules when it comes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-no-iptables-'))
  const { PATH = '' } = process.env
  const calls = join(folder, 'calls')
  for (const name of ['iptables', 'ip6tables'].flatMap((each) => [each, `${each}-nft`, `${each}-legacy`])) {
    writeFileSync(join(folder, name), `#!/bin/sh\necho ${name} >> ${calls}\nexit 127\n`)
    chmodSync(join(folder, name), 0o755)
  }
  try {
    process.env['PATH'] = `${folder}:${PATH}`
    await start({ periodMs: 20 })
    await expect.poll(() => readFileSync(calls, 'utf8').split('\n').length, eventually).toBeGreaterThan(15)
    expect(told.toSorted((a, b) => (a < b ? -1 : 1))).toEqual([
      expect.stringMatching(/^info: no iptables here.*"family":"IPv4"/),
      expect.stringMatching(/^info: no iptables here.*"family":"IPv6"/),
    ])
    process.env['PATH'] = PATH
    await expect.poll(async () => table('ip6tables', 'mangle'), eventually).toContain('-N KUBE-IPTABLES-HINT')
  } finally {
    process.env['PATH'] = PATH
    rmSync(folder, { recursive: true })
  }
})
