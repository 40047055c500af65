// A host in a network namespace of its own, with two pods and a client behind it, and programs that run in them.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { isNamespacePinned, openNetlink, pinNamespaces, unpinNamespace } from '@nodelet/linux'
import type { Netlink } from '@nodelet/linux'
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
const { parentPort, workerData: { name, port } } = require('worker_threads')
require('net').createServer((socket) => socket.on('error', () => {}).end(name)).listen(port, () => {
  const udp = require('dgram').createSocket('udp4')
  udp.on('message', (_, from) => udp.send(name, from.port, from.address))
  udp.bind(port, () => parentPort.postMessage('ready'))
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
  const servers: { place: Pod | 'host'; worker: Worker }[] = []
  const host: SmallHost = {
    netns: at('host'),
    netnsOf: at,
    run: async (program, ...args) => must(await runProgram(program, args, { netns: at('host') }), program, args),
    runIn: async (pod, program, ...args) => must(await runProgram(program, args, { netns: at(pod) }), program, args),
    routeLocalnet: (place) => void writeSysctl('net/ipv4/conf/all/route_localnet', 1, silentLogger, at(place)),
    serve: async (place, port) => {
      // A thread is born in the namespace of the one that makes it, and so are its sockets.
      const options = { eval: true, workerData: { name: place, port } }
      const worker = inNetns(at(place), () => new Worker(server, options))
      servers.push({ place, worker })
      await once(worker, 'message')
    },
    stopServing: (place) => {
      for (const one of servers) if (one.place === place) void one.worker.terminate()
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
      for (const { worker } of servers) void worker.terminate()
      for (const name of ['host', ...pods]) if (isNamespacePinned(at(name))) unpinNamespace(at(name))
      rmSync(folder, { recursive: true })
    },
  }
  try {
    pinNamespaces({ paths: { net: host.netns } })
    using net = openNetlink({ netns: host.netns })
    await net.links.set('lo', { up: true })
    await net.links.add({ kind: 'veth', name: 'uplink', up: true, peer: { name: 'far-end' } })
    await net.addresses.add('uplink', `${hostIP}/24`)
    await net.links.set('far-end', { up: true })
    await net.routes.add({ destination: '0.0.0.0/0', gateway: gatewayIP })
    await net.routes.add({ destination: '::/0', link: 'uplink' })
    writeSysctl('net/ipv4/ip_forward', 1, silentLogger, host.netns)
    writeSysctl('net/ipv6/conf/all/forwarding', 1, silentLogger, host.netns)
    for (const pod of pods) await connectPod(net, at(pod), pod)
    return host
  } catch (error) {
    host.end()
    throw error
  }
}

async function connectPod(host: Netlink, netns: string, name: Pod): Promise<void> {
  pinNamespaces({ paths: { net: netns } })
  using pod = openNetlink({ netns })
  const link = `pod-${name}`
  // An address that is still being tested for twins answers nobody.
  const flags = { noDad: true } as const
  await host.links.add({ kind: 'veth', name: link, up: true, peer: { name: 'eth0', netns } })
  for (const one of ['lo', 'eth0']) await pod.links.set(one, { up: true })
  for (const [address, prefix, all] of [
    [podIPs[name], 30, '0.0.0.0/0'],
    [podIPv6s[name], 64, '::/0'],
  ] as const) {
    const gateway = address.replace(/2$/, '1')
    await host.addresses.add(link, { address: `${gateway}/${prefix}`, flags })
    await pod.addresses.add('eth0', { address: `${address}/${prefix}`, flags })
    await pod.routes.add({ destination: all, gateway })
  }
}

function must({ code, stdout, stderr }: ProgramResult, program: string, args: readonly string[]): string {
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${code} ${stderr}`)
  return stdout
}
