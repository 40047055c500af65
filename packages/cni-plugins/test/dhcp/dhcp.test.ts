import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { unpinNamespace } from '@nodelet/linux'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { cniVersions } from '../../src/index.ts'
import type { CniResult } from '../../src/index.ts'
import { dhcp } from '../../src/plugins/dhcp/dhcp.ts'
import { inProcess, pluginSuite, program } from '../../src/testing/index.ts'
import type { PluginForm, PluginUnderTest } from '../../src/testing/index.ts'
import { usePrograms } from '../programs.ts'
import { makeDhcpNetwork } from './network.ts'
import type { DhcpNetwork } from './network.ts'

const programs = usePrograms()
let network: DhcpNetwork
let daemon: ChildProcess | undefined

beforeEach(async () => {
  network = makeDhcpNetwork()
  await network.serve()
})
afterEach(async () => {
  await stopDaemon('SIGKILL')
  await network[Symbol.asyncDispose]()
})

const folder = (): string => network.machine.folder
const socketPath = (): string => join(folder(), 'dhcp.sock')

async function startDaemon(...options: string[]): Promise<void> {
  daemon = spawn(programs().program, ['dhcp', 'daemon', '-socketpath', socketPath(), ...options], { stdio: 'ignore' })
  const ask = program(join(programs().folder, 'dhcp'), { hostNetns: network.machine.host })
  const env = { CNI_COMMAND: 'STATUS', CNI_PATH: folder() }
  await expect.poll(async () => (await ask(env, input())).stdout).toBe('')
}
async function stopDaemon(signal: NodeJS.Signals): Promise<void> {
  if (daemon?.exitCode === null && daemon.signalCode === null) {
    daemon.kill(signal)
    await once(daemon, 'exit')
  }
  daemon = undefined
}

const ipam = (more: object = {}): object => ({ type: 'dhcp', daemonSocketPath: socketPath(), ...more })
const input = (more: object = {}, rest: object = {}): string =>
  JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'dhcp', ipam: ipam(more), ...rest })
const envOf = (command: string, netns: string, args = ''): Record<string, string> => ({
  CNI_COMMAND: command,
  CNI_CONTAINERID: 'one',
  CNI_NETNS: netns,
  CNI_IFNAME: 'eth0',
  CNI_PATH: folder(),
  CNI_ARGS: args,
})
const ourProgram = (): PluginForm => program(join(programs().folder, 'dhcp'), { hostNetns: network.machine.host })
const count = (text: string): number => network.log().split(text).length - 1

describe.each(['in this process', 'as a program'])('%s', (form) => {
  const isProgram = form === 'as a program'
  const records = (): string => (isProgram ? `${socketPath()}.leases` : join(folder(), 'addresses/.dhcp'))
  beforeEach(async () => {
    if (isProgram) await startDaemon()
  })

  let pods = 0
  const subject = (): PluginUnderTest => {
    const hostNetns = network.machine.host
    return {
      run: isProgram ? ourProgram() : inProcess(dhcp, { hostNetns, addressDir: join(folder(), 'addresses') }),
      config: { type: 'dhcp', ipam: ipam(isProgram ? {} : { daemonSocketPath: '' }) },
      versions: cniVersions,
      hostNetns,
      netns: () => {
        const path = network.pod(`suite-${(pods += 1)}`)
        return { path, [Symbol.dispose]: () => unpinNamespace(path) }
      },
      cniPath: programs().folder,
      left: async () => (existsSync(records()) ? readdirSync(records()) : []),
    }
  }
  for (const { name, run } of pluginSuite(subject)) test(name, run)
})

test('a bridge with addresses by DHCP, in process', async () => {
  const list = {
    cniVersion: '1.1.0',
    name: 'net',
    plugins: [{ type: 'bridge', bridge: 'br0', ipam: { type: 'dhcp', priority: 7, request: [{ option: '121' }] } }],
  }
  writeFileSync(join(folder(), 'net.d/10-test.conflist'), JSON.stringify(list))
  await network.serve('--dhcp-option=121,10.99.0.0/16,10.88.0.1,0.0.0.0/0,10.88.0.1')
  using cni = network.machine.open()
  const one = { containerId: 'one', netns: network.machine.pod('one'), ifName: 'eth0' }
  await cni.status()
  const result = await cni.add(one)
  expect(result).toMatchObject({
    ips: [{ address: expect.stringMatching(/^10\.88\.0\.\d+\/24$/) as string, gateway: '10.88.0.1', interface: 2 }],
    routes: [
      { dst: '10.99.0.0/16', gw: '10.88.0.1', priority: 7 },
      { dst: '0.0.0.0/0', gw: '10.88.0.1', priority: 7 },
    ],
  })
  network.machine.run(network.machine.host, 'ip', 'addr', 'add', '10.99.0.1/32', 'dev', 'lo')
  expect(network.machine.run(one.netns, 'busybox', 'ping', '-c1', '-W2', '10.99.0.1')).toContain(' 0% packet loss')
  const asked = count('DHCPDISCOVER')
  await cni.check(one)
  expect(count('DHCPDISCOVER')).toBe(asked)
  await cni.del(one)
  await cni.del(one)
  await expect.poll(() => count('DHCPRELEASE')).toBeGreaterThan(0)
  expect(readdirSync(join(folder(), 'cache/networks/.dhcp'))).toEqual([])
})

test('servers are told what the network and the pod say', async () => {
  await startDaemon()
  const provide = [
    { option: 'host-name', value: 'web', fromArg: 'K8S_POD_NAME' },
    { option: '60', value: 'ours' },
  ]
  const args = 'IgnoreUnknown=1;K8S_POD_NAME=pod-7'
  const { exitCode, stdout } = await ourProgram()(envOf('ADD', network.pod('one'), args), input({ provide }))
  expect([exitCode, stdout]).toEqual([0, expect.stringContaining('10.88.0.') as string])
  expect(network.log()).toContain('client provides name: pod-7')
  expect(network.log()).toContain('vendor class: ours')
  // 0, then `one/net/eth0`.
  expect(readFileSync(join(folder(), 'server-leases'), 'utf8')).toContain(
    `00:${Buffer.from('one/net/eth0')
      .toString('hex')
      .replaceAll(/..(?=.)/g, '$&:')}`,
  )
})

test.each(['SIGTERM', 'SIGKILL'] as const)(
  'a daemon that ended by %s is followed by one that knows its leases',
  async (signal) => {
    const pidFile = join(folder(), 'pid')
    await startDaemon('-pidfile', pidFile)
    expect(readFileSync(pidFile, 'utf8')).toBe(String(daemon?.pid))
    const netns = network.pod('one')
    const run = ourProgram()
    const prevResult = JSON.parse((await run(envOf('ADD', netns), input())).stdout) as CniResult
    await stopDaemon(signal)
    expect([existsSync(socketPath()), existsSync(pidFile)]).toEqual(
      signal === 'SIGTERM' ? [false, false] : [true, true],
    )
    const { stdout } = await run({ CNI_COMMAND: 'STATUS', CNI_PATH: folder() }, input())
    expect(JSON.parse(stdout)).toMatchObject({
      code: 50,
      msg: expect.stringContaining(`dhcp: error dialing DHCP daemon: ${socketPath()}: connect `) as string,
    })
    expect(JSON.parse((await run(envOf('DEL', netns), input())).stdout)).toMatchObject({ code: 999 })

    await startDaemon()
    expect((await run(envOf('CHECK', netns), input({}, { prevResult }))).stdout).toBe('')
    const other = { ...prevResult, ips: [{ address: '10.88.0.9/24' }] }
    const checked = await run(envOf('CHECK', netns), input({}, { prevResult: other }))
    expect(JSON.parse(checked.stdout)).toMatchObject({
      msg: expect.stringContaining('the lease of eth0 is 10.88.0.') as string,
    })
    expect(count('DHCPDISCOVER')).toBe(1)
    expect((await run(envOf('DEL', netns), input())).stdout).toBe('')
    await expect.poll(network.released).toHaveLength(1)
  },
)

test('without a server ADD fails in time', async () => {
  await network.stopServer()
  await startDaemon('-timeout=200ms', '--resendmax', '50ms', '-resendtimeout', '0.5s', '-broadcast')
  const { stdout } = await ourProgram()(envOf('ADD', network.pod('one')), input())
  expect(JSON.parse(stdout)).toMatchObject({
    code: 11,
    msg: 'no DHCP lease for eth0: no DHCP server answered within 0.2 s',
  })
})

test('nobody waits for a lease any more: neither does the daemon', async () => {
  await network.stopServer()
  await startDaemon()
  const netns = network.pod('one')
  const plugin = spawn(join(programs().folder, 'dhcp'), {
    env: { ...process.env, ...envOf('ADD', netns) },
    stdio: 'pipe',
  })
  plugin.stdin.end(input())
  await expect.poll(() => network.machine.run(netns, 'ss', '-0ln')).toContain('eth0')
  plugin.kill('SIGKILL')
  await expect.poll(() => network.machine.run(netns, 'ss', '-0ln')).not.toContain('eth0')
  expect((await ourProgram()(envOf('DEL', netns), input())).stdout).toBe('')
})

test.each([
  [['-timeout', 'soon'], '-timeout: "soon" is not a duration such as 10s or 1m30s'],
  [['-pidfile', 'pid'], 'Error writing pidfile "pid": path not absolute'],
  [['-what'], "Unknown option '--what'"],
])('the daemon refuses %j', (args, message) => {
  const { status, stderr } = spawnSync(programs().program, ['dhcp', 'daemon', ...args], { encoding: 'utf8' })
  expect([status, stderr]).toEqual([1, expect.stringContaining(message) as string])
  expect(stderr).toContain('Usage: nodelet-cni dhcp daemon')
})

test('a second daemon at the same socket is refused', async () => {
  await startDaemon()
  const args = ['dhcp', 'daemon', '-socketpath', socketPath()]
  const { status, stderr } = spawnSync(programs().program, args, { encoding: 'utf8' })
  expect([status, stderr]).toEqual([1, expect.stringContaining('another daemon answers at') as string])
})
