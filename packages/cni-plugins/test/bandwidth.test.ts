import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { bandwidth } from '../src/plugins/bandwidth/bandwidth.ts'
import { parseBandwidth } from '../src/plugins/bandwidth/config.ts'
import { inProcess, program } from '../src/testing/index.ts'
import type { PluginForm } from '../src/testing/index.ts'
import type { CniResult, PodNetwork } from '../src/index.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'

let machine: TestMachine
const megabit = 1_000_000
const bridge = {
  type: 'bridge',
  bridge: 'br0',
  isGateway: true,
  ipam: { type: 'host-local', ranges: [[{ subnet: '10.77.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] },
}
const plugin = { type: 'bandwidth', capabilities: { bandwidth: true } }

beforeEach(() => {
  machine = makeMachine({ cniVersion: '1.1.0', name: 'test', plugins: [bridge, plugin] })
})
afterEach(() => machine[Symbol.dispose]())

const pod = (name: string, limits: object): PodNetwork => ({
  containerId: name,
  netns: machine.pod(name),
  ifName: 'eth0',
  capabilityArgs: { bandwidth: limits },
})
const both = { ingressRate: 8 * megabit, ingressBurst: megabit, egressRate: 16 * megabit, egressBurst: megabit }
const ifbs = (): string[] => machine.run(machine.host, 'ip', '-o', 'link').match(/bwp[0-9a-f]{12}/g) ?? []

const receive = `
  import { createServer } from 'node:net'
  const [address, seconds] = process.argv.slice(1)
  const server = createServer((socket) => {
    let bytes = 0
    let begun
    socket.on('data', (data) => {
      bytes += data.length
      begun ??= performance.now()
      const took = (performance.now() - begun) / 1000
      if (took < Number(seconds)) return
      console.log((bytes * 8) / took)
      process.exit()
    })
  })
  server.listen(5001, address, () => console.log('listening'))
`
const send = `
  import { connect } from 'node:net'
  const socket = connect(5001, process.argv[1])
  const piece = Buffer.alloc(65536)
  const more = () => { while (socket.write(piece)); }
  socket.on('connect', more).on('drain', more).on('error', () => process.exit()).on('close', () => process.exit())
`

/** Bits per second of a bulk transfer. */
async function rateOf(from: string, to: string, address: string): Promise<number> {
  const node = (netns: string, script: string, ...args: string[]) =>
    spawn('nsenter', [`--net=${netns}`, '--', process.execPath, '--input-type=module', '-e', script, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
  const receiver = node(to, receive, address, '3')
  const [listening] = (await once(receiver.stdout, 'data')) as [Buffer]
  expect(String(listening)).toBe('listening\n')
  const sender = node(from, send, address)
  try {
    const [rate] = (await once(receiver.stdout, 'data')) as [Buffer]
    return Number(rate)
  } finally {
    for (const one of [sender, receiver]) one.kill('SIGKILL')
  }
}

/** A busy machine may be slower than the limit, never faster than the limit and what the burst adds. */
function expectRate(rate: number, limit: number): void {
  expect(rate).toBeLessThan(limit * 1.25)
  expect(rate).toBeGreaterThan(limit * 0.2)
}

test('a bulk transfer keeps to the limit in either direction, and is faster without', { timeout: 60_000 }, async () => {
  const one = pod('one', both)
  const result = await machine.cni.add(one)
  expect(result.interfaces.map(({ name }) => name.slice(0, 3))).toEqual(['br0', 'vet', 'eth', 'bwp'])
  await machine.cni.check(one)
  expectRate(await rateOf(machine.host, one.netns, '10.77.0.2'), 8 * megabit)
  expectRate(await rateOf(one.netns, machine.host, '10.77.0.1'), 16 * megabit)
  const free = pod('free', {})
  await machine.cni.add(free)
  expect(await rateOf(machine.host, free.netns, '10.77.0.3')).toBeGreaterThan(40 * megabit)
  await machine.cni.del(one)
  await machine.cni.del(one)
  expect(ifbs()).toEqual([])
})

test('CHECK sees limits that are gone or others', async () => {
  const one = pod('one', both)
  const { interfaces } = await machine.cni.add(one)
  const [, port = '', , ifb = ''] = interfaces.map(({ name }) => name)
  const tc = (...args: string[]): string => machine.run(machine.host, 'tc', ...args)
  const tbf = ['root', 'handle', '1:', 'tbf', 'rate', '8mbit', 'burst', '125000', 'latency', '25ms']
  tc('qdisc', 'replace', 'dev', port, ...tbf)
  await machine.cni.check(one)
  tc('qdisc', 'replace', 'dev', port, ...tbf.with(5, '9mbit'))
  await expect(machine.cni.check(one)).rejects.toThrow(`${port} has another limit or none`)
  tc('qdisc', 'replace', 'dev', port, ...tbf)
  tc('filter', 'del', 'dev', port, 'ingress')
  await expect(machine.cni.check(one)).rejects.toThrow(`${port} does not hand its packets to ${ifb}`)
  machine.run(machine.host, 'ip', 'link', 'del', ifb)
  await expect(machine.cni.check(one)).rejects.toThrow(`${ifb} is not there`)
})

test("GC takes the ifbs of the network's pods that are gone, and no other", async () => {
  const [one, two] = [pod('one', both), pod('two', both)]
  const { interfaces } = await machine.cni.add(one)
  await machine.cni.add(two)
  rmSync(join(machine.folder, 'cache'), { recursive: true }) // so that only the plugin itself can know
  for (const [name, alias] of Object.entries({ bwp000000000000: 'x', bwp222222222222: 'CNI network "test2" two' })) {
    machine.run(machine.host, 'ip', 'link', 'add', name, 'type', 'ifb')
    machine.run(machine.host, 'ip', 'link', 'set', name, 'alias', alias)
  }
  expect(ifbs()).toHaveLength(4)
  await machine.cni.gc([{ containerId: 'one', ifName: 'eth0' }])
  expect(new Set(ifbs())).toEqual(new Set(['bwp000000000000', 'bwp222222222222', interfaces[3]?.name]))
})

test('an ADD that fails leaves nothing, and names what is wrong', async () => {
  const one = pod('one', both)
  const result = await machine.cni.add(pod('two', {}))
  const plugins = inProcess(bandwidth, { hostNetns: machine.host, addressDir: machine.folder })
  const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'one', CNI_NETNS: one.netns, CNI_IFNAME: 'eth0', CNI_PATH: '/' }
  const config = { cniVersion: '1.1.0', name: 'test', type: 'bandwidth', prevResult: result, ...both }
  const link = await plugins(env, JSON.stringify(config))
  expect(link.stdout).toContain('eth0 has no other end on this machine')
  // What is there already is not ours to take away.
  const port = result.interfaces[1]?.name ?? ''
  machine.run(machine.host, 'tc', 'qdisc', 'add', 'dev', port, 'ingress')
  const taken = await plugins({ ...env, CNI_NETNS: join(machine.folder, 'two') }, JSON.stringify(config))
  expect(taken.stdout).toContain('EEXIST: add qdisc ingress')
  expect(ifbs()).toEqual([])
  expect(machine.run(machine.host, 'tc', 'qdisc', 'show', 'dev', port)).not.toContain('tbf')
  expect(machine.run(machine.host, 'tc', 'qdisc', 'show', 'dev', port)).toContain('ingress')
})

test.each([
  [{ ingressRate: 1_000 }, 'ingressBurst: if rate is set, burst must also be set'],
  [{ egressBurst: 1_000 }, 'egressRate: if burst is set, rate must also be set'],
  [{ egressRate: 1_000, egressBurst: 2 ** 35 }, 'egressBurst: 34359738368: burst cannot be more than 4GB'],
  [{ ingressRate: -1 }, 'ingressRate: '],
  [{ ingressRate: 7, ingressBurst: 1 }, 'ingressRate: 7 is less than 8 bit/s'],
  [{ unshapedSubnets: ['10.0.0.0/8'] }, 'unshapedSubnets: ["10.0.0.0/8"] is not supported'],
])('%j is refused: %s', (limits, message) => {
  const base = { type: 'bandwidth', name: 'test', cniVersion: '1.1.0' }
  expect(() => parseBandwidth({ ...base, ...limits })).toThrow(message)
  expect(() => parseBandwidth({ ...base, runtimeConfig: { bandwidth: limits } })).toThrow(message)
})

/** What tc shows, without names of links. */
const shown = (): unknown => {
  const text = machine.run(machine.host, 'tc', '-j', 'qdisc')
  const qdiscs = JSON.parse(text.replaceAll(/veth[0-9a-f]{8}/g, 'port')) as { dev: string; kind: string }[]
  const filters = machine.run(machine.host, 'tc', 'filter', 'show', 'dev', portName(), 'ingress')
  return [
    qdiscs.filter(({ kind }) => kind !== 'noqueue'),
    filters.match(/pref 1 u32|match .* at 0|\(Egress Redirect to device \w+\) stolen/g),
  ]
}
const portName = (): string => /veth[0-9a-f]{8}/.exec(machine.run(machine.host, 'ip', '-o', 'link'))?.[0] ?? ''

test("Debian's makes the same of a configuration, and each takes away what the other made", async () => {
  const one = pod('one', {})
  const prevResult: CniResult = await machine.cni.add(one)
  const forms: PluginForm[] = [
    inProcess(bandwidth, { hostNetns: machine.host, addressDir: machine.folder }),
    program('/usr/lib/cni/bandwidth', { hostNetns: machine.host }),
  ]
  const config = { name: 'test', type: 'bandwidth', ...both, prevResult: { ...prevResult, cniVersion: '1.0.0' } }
  const call = async (form: PluginForm | undefined, command: string, more = {}): Promise<unknown> => {
    const env = { CNI_CONTAINERID: 'one', CNI_NETNS: one.netns, CNI_IFNAME: 'eth0', CNI_PATH: '/' }
    const stdin = JSON.stringify({ cniVersion: '1.0.0', ...config, ...more })
    const answer = await form?.({ ...env, CNI_COMMAND: command }, stdin)
    expect(answer).toMatchObject({ exitCode: 0 })
    return command === 'ADD' ? JSON.parse(answer?.stdout ?? '') : undefined
  }
  const seen = []
  for (const [adds, dels] of [forms, forms.toReversed()]) {
    const result = await call(adds, 'ADD')
    seen.push(shown())
    for (const form of forms) await call(form, 'CHECK', { prevResult: result })
    await call(dels, 'DEL', { prevResult: result })
    expect(ifbs()).toEqual([])
    for (const kind of ['root', 'ingress']) {
      // Debian's leaves them to the end of the link.
      if (dels === forms[1]) machine.run(machine.host, 'tc', 'qdisc', 'del', 'dev', portName(), kind)
    }
  }
  expect(seen[0]).toEqual(seen[1])
})
