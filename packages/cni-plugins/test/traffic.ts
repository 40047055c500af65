// Real packets between namespaces.
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { openNetlink } from '@nodelet/linux'
import type { TestMachine } from './machine.ts'

export interface Traffic extends Disposable {
  /** Answers each connection and each datagram with the name and where it came from. */
  serve(netns: string, port: number, name: string): Promise<void>
  /** What is answered. @throws Error when nothing is */
  ask(netns: string, address: string, port: number, from?: string): string
  /** The same by UDP, from one port of the asking side. */
  askByUdp(netns: string, address: string, port: number): string
  /** A namespace that is a neighbour of the host's, 10.9.0.2 and fd09::2, and has no route to pods. */
  outside(): Promise<string>
}

const server = (port: number, name: string): string => `
  const told = (address) => '${name} ' + address.replace('::ffff:', '')
  const tcp = require('node:net').createServer((socket) => socket.end(told(socket.remoteAddress)))
  const udp = require('node:dgram').createSocket('udp6')
  udp.on('message', (_, { address, port }) => udp.send(told(address), port, address))
  tcp.listen(${port}, '::', () => udp.bind(${port}, () => {
    require('node:fs').writeSync(1, 'ready')
    require('node:fs').closeSync(1) // who waits for the end of it goes on
  }))
`
const udpPort = 4_000
/** Longer than a new address of IPv6 waits for those who have it already. */
const patienceMs = 5_000

export function makeTraffic({ host, pod, run }: TestMachine): Traffic {
  const children: ChildProcess[] = []
  const node = (netns: string, program: string): string => run(netns, process.execPath, '-e', program)
  return {
    serve: async (netns, port, name) => {
      const child = spawn('nsenter', [`--net=${netns}`, '--', process.execPath, '-e', server(port, name)])
      children.push(child)
      // It ends without a word when it cannot listen.
      if (!(await text(child.stdout)).includes('ready')) throw new Error(`${name} does not serve ${port}`)
    },
    ask: (netns, address, port, from) => {
      const to = JSON.stringify({ port, host: address, ...(from && { localAddress: from }) })
      const program = `const socket = require('node:net').connect(${to}); setTimeout(() => process.exit(1), ${patienceMs}).unref()`
      return node(netns, `${program}; socket.pipe(process.stdout)`)
    },
    askByUdp: (netns, address, port) =>
      node(
        netns,
        `const socket = require('node:dgram').createSocket('${address.includes(':') ? 'udp6' : 'udp4'}')
        setTimeout(() => process.exit(1), ${patienceMs}).unref()
        socket.on('message', (text) => { console.log(String(text)); socket.close() })
        socket.bind(${udpPort}, () => socket.send('x', ${port}, '${address}'))`,
      ).trim(),
    outside: async () => {
      const netns = pod('outside')
      using here = openNetlink({ netns: host })
      using there = openNetlink({ netns })
      const { index } = await here.links.add({ kind: 'veth', name: 'up0', up: true, peer: { name: 'eth0', netns } })
      for (const address of ['10.9.0.1/24', 'fd09::1/64'])
        await here.addresses.add(index, { address, flags: { noDad: true } })
      for (const address of ['10.9.0.2/24', '10.9.0.3/24', 'fd09::2/64']) {
        await there.addresses.add('eth0', { address, flags: { noDad: true } })
      }
      await there.links.set('eth0', { up: true })
      return netns
    },
    [Symbol.dispose]: () => {
      for (const child of children) child.kill('SIGKILL')
    },
  }
}
