// A host in a network namespace of its own, with two pods and a client behind it, and programs that run in them.
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isNamespacePinned, pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { inNetns, runProgram } from '../src/apply/program.ts'
import type { ProgramResult } from '../src/apply/program.ts'
import { writeSysctl } from '../src/apply/sysctls.ts'
import { silentLogger } from '../src/log.ts'

export const hostIP = '192.0.2.1'
const gatewayIP = '192.0.2.254'
export const podIPs = { a: '10.99.1.2', b: '10.99.2.2', client: '10.99.3.2' } as const
export type Pod = keyof typeof podIPs
export const podIPv6s: Record<Pod, string> = { a: 'fd99:1::2', b: 'fd99:2::2', client: 'fd99:3::2' }

export interface SmallHost {
  netns: string
  /** Where a pod's network is pinned, or the host's. */
  netnsOf(place: Pod | 'host'): string
  /** Runs a program in the host. */
  run(program: string, ...args: string[]): Promise<string>
  runIn(pod: Pod, program: string, ...args: string[]): Promise<string>
  /** Lets addresses of 127.0.0.0/8 be routed like others. */
  routeLocalnet(place: Pod | 'host'): void
  /** Answers TCP and UDP on a port of a pod, or of the host, with its name. */
  serve(place: Pod | 'host', port: number): Promise<void>
  /** Ends what serves there. */
  stopServing(place: Pod | 'host'): void
  /** What one connection after another is answered, or the error code. */
  ask(
    from: Pod | 'host',
    protocol: 'tcp' | 'udp',
    address: string,
    times: number,
    sourcePort?: number,
  ): Promise<string[]>
  /** GETs from the host itself. */
  get(url: string): Promise<{ status: number; headers: Record<string, string>; body: string }>
  /** Rules of both families without counters, comments and times. */
  rules(): Promise<string>
  end(): void
}

const server = `
const [name, port] = process.argv.slice(1)
require('net').createServer((socket) => socket.on('error', () => {}).end(name)).listen(port, () => {
  const udp = require('dgram').createSocket('udp4')
  udp.on('message', (_, from) => udp.send(name, from.port, from.address))
  udp.bind(Number(port), () => console.log('ready'))
})`

const tcpClient = `
const [host, port, times] = process.argv.slice(1)
const once = () => new Promise((resolve) => {
  let text = ''
  const socket = require('net').connect({ host, port, timeout: 2000 })
  socket.on('data', (chunk) => (text += chunk)).on('end', () => resolve(text))
  socket.on('error', (error) => resolve(error.code)).on('timeout', () => { socket.destroy(); resolve('TIMEOUT') })
})
;(async () => { for (let i = 0; i < times; i++) console.log(await once()) })()`

const udpClient = `
const [host, port, times, sourcePort] = process.argv.slice(1)
const socket = require('dgram').createSocket('udp4')
const once = () => new Promise((resolve) => {
  const timer = setTimeout(() => resolve('TIMEOUT'), 1000)
  const end = (answer) => { clearTimeout(timer); socket.removeAllListeners(); resolve(answer) }
  socket.once('message', (text) => end(String(text)))
  socket.once('error', (error) => end(error.code))
  socket.send('?', (error) => error && end(error.code))
})
socket.bind(Number(sourcePort), () => socket.connect(Number(port), host, async () => {
  for (let i = 0; i < times; i++) console.log(await once())
  socket.close()
}))`

const httpClient = `
fetch(process.argv[1]).then(async (answer) => {
  console.log(JSON.stringify({ status: answer.status, headers: Object.fromEntries(answer.headers), body: await answer.text() }))
})`

export async function startSmallHost(): Promise<SmallHost> {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-proxy-'))
  const at = (name: string): string => join(folder, name)
  const pods = Object.keys(podIPs) as Pod[]
  const servers: { place: Pod | 'host'; child: ChildProcess }[] = []
  const host: SmallHost = {
    netns: at('host'),
    netnsOf: at,
    run: async (program, ...args) => must(await runProgram(program, args, { netns: at('host') }), program, args),
    runIn: async (pod, program, ...args) => must(await runProgram(program, args, { netns: at(pod) }), program, args),
    routeLocalnet: (place) => void writeSysctl('net/ipv4/conf/all/route_localnet', 1, silentLogger, at(place)),
    serve: async (place, port) => {
      const child = inNetns(at(place), () =>
        spawn(process.execPath, ['-e', server, place, String(port)], { stdio: 'pipe' }),
      )
      servers.push({ place, child })
      await new Promise((resolve) => child.stdout.once('data', resolve))
    },
    stopServing: (place) => {
      for (const one of servers) if (one.place === place) one.child.kill('SIGKILL')
    },
    ask: async (from, protocol, address, times, sourcePort = 0) => {
      const [, ip = '', port = ''] = /^\[?(.*?)\]?:(\d+)$/.exec(address) ?? []
      const script = protocol === 'tcp' ? tcpClient : udpClient
      const args = ['-e', script, ip, port, String(times), String(sourcePort)]
      return must(await runProgram(process.execPath, args, { netns: at(from) }), protocol, args)
        .trim()
        .split('\n')
    },
    get: async (url) =>
      JSON.parse(await host.run(process.execPath, '-e', httpClient, url)) as Awaited<ReturnType<SmallHost['get']>>,
    rules: async () =>
      `${await host.run('iptables-save')}${await host.run('ip6tables-save')}`
        .split('\n')
        .filter((line) => !line.startsWith('#'))
        .map((line) => line.replace(/ \[\d+:\d+\]$/, ''))
        .join('\n'),
    end: () => {
      for (const { child } of servers) child.kill('SIGKILL')
      for (const name of ['host', ...pods]) if (isNamespacePinned(at(name))) unpinNamespace(at(name))
      rmSync(folder, { recursive: true })
    },
  }
  try {
    pinNamespaces({ paths: { net: host.netns } })
    await host.run('ip', 'link', 'set', 'lo', 'up')
    await host.run('ip', 'link', 'add', 'uplink', 'type', 'veth', 'peer', 'name', 'far-end')
    await host.run('ip', 'addr', 'add', `${hostIP}/24`, 'dev', 'uplink')
    await host.run('ip', 'link', 'set', 'far-end', 'up')
    await host.run('ip', 'link', 'set', 'uplink', 'up')
    await host.run('ip', 'route', 'add', 'default', 'via', gatewayIP)
    await host.run('ip', '-6', 'route', 'add', 'default', 'dev', 'uplink')
    writeSysctl('net/ipv4/ip_forward', 1, silentLogger, host.netns)
    writeSysctl('net/ipv6/conf/all/forwarding', 1, silentLogger, host.netns)
    for (const pod of pods) await connectPod(host, at(pod), pod)
    return host
  } catch (error) {
    host.end()
    throw error
  }
}

async function connectPod(host: SmallHost, netns: string, pod: Pod): Promise<void> {
  const gateway = podIPs[pod].replace(/2$/, '1')
  pinNamespaces({ paths: { net: netns } })
  // An address that is still being tested for twins answers nobody.
  for (const one of [host.netns, netns]) writeSysctl('net/ipv6/conf/default/dad_transmits', 0, silentLogger, one)
  await host.run('ip', 'link', 'add', `pod-${pod}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns)
  await host.run('ip', 'addr', 'add', `${gateway}/30`, 'dev', `pod-${pod}`)
  await host.run('ip', 'link', 'set', `pod-${pod}`, 'up')
  const inPod = async (...args: string[]): Promise<string> => must(await runProgram('ip', args, { netns }), 'ip', args)
  await inPod('link', 'set', 'lo', 'up')
  await inPod('addr', 'add', `${podIPs[pod]}/30`, 'dev', 'eth0')
  await inPod('link', 'set', 'eth0', 'up')
  await inPod('route', 'add', 'default', 'via', gateway)
  const gatewayV6 = podIPv6s[pod].replace(/2$/, '1')
  await host.run('ip', 'addr', 'add', `${gatewayV6}/64`, 'dev', `pod-${pod}`, 'nodad')
  await inPod('addr', 'add', `${podIPv6s[pod]}/64`, 'dev', 'eth0', 'nodad')
  await inPod('-6', 'route', 'add', 'default', 'via', gatewayV6)
}

function must({ code, stdout, stderr }: ProgramResult, program: string, args: readonly string[]): string {
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${code} ${stderr}`)
  return stdout
}
