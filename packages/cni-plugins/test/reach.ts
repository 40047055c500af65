// Connections between namespaces.
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { afterEach } from 'vitest'
import type { CniResult, PodNetwork } from '../src/index.ts'
import type { TestMachine } from './machine.ts'

/** A server that answers each connection with the address that it comes from; all end with the test. */
export function useServers(): (netns: string, port: number) => Promise<void> {
  const children: ChildProcess[] = []
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
  })
  return async (netns, port) => {
    const program = `require('node:net')
      .createServer((socket) => socket.end(socket.remoteAddress.replace(/^::ffff:/, '')))
      .listen(${port}, '::', () => console.log('ready'))`
    const child = spawn('nsenter', [`--net=${netns}`, '--', process.execPath, '-e', program])
    children.push(child)
    await once(child.stdout, 'data')
  }
}

/** What a server says, or that none can be reached. */
export function ask({ run }: TestMachine, netns: string, address: string, port: number): string {
  const program = `const socket = require('node:net').connect({ port: ${port}, host: '${address}', timeout: 3000 })
    socket.on('error', ({ code }) => console.log(code)).on('timeout', () => socket.destroy(console.log('nobody')))
    socket.on('data', (data) => console.log(String(data)))`
  return run(netns, process.execPath, '-e', program).trim()
}

export const podNetwork = (machine: TestMachine, name: string, more: Partial<PodNetwork> = {}): PodNetwork => ({
  containerId: name,
  netns: machine.pod(name),
  ifName: 'eth0',
  ...more,
})

/** A network list of one plugin. */
export const listOf = (plugin: object): object => ({ cniVersion: '1.1.0', name: 'test', plugins: [plugin] })

/** Of a family, without the prefix. */
export const addressOf = ({ ips }: CniResult, family: 4 | 6 = 4): string =>
  ips.find(({ address }) => address.includes(':') === (family === 6))?.address.split('/')[0] ?? ''

/** What iproute2 tells, parsed. */
export const shown = <Shape>({ run }: TestMachine, netns: string, ...words: string[]): Shape[] =>
  JSON.parse(run(netns, 'ip', '-j', '-d', ...words) || '[]') as Shape[]

/** Names of a namespace's links but lo, and those that the kernel makes by itself. */
export const links = (machine: TestMachine, netns: string): string[] =>
  shown<{ ifname: string }>(machine, netns, 'link')
    .map(({ ifname }) => ifname)
    .filter((name) => !/^(lo|tunl0|sit0|ip6tnl0|gre0|gretap0|erspan0|ifb\d)$/.test(name))
    .toSorted()
