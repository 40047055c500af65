// A network namespace in which every endpoint answers, and what connections cost in it.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { inNamespace, pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { endpointPort, endpointRange, serviceRange } from './cluster.ts'

export const nodeIP = '192.0.2.1'

export interface Place extends AsyncDisposable {
  netns: string
  /** Connections a second to an address, one after the other. */
  connect(address: string, port: number, seconds: number): Promise<number>
}

/** Serves, and connects when asked. Connections are reset: none waits for late packets, and ports do not run out. */
const peer = `
const net = require('net')
const once = (host, port) => new Promise((resolve, reject) => {
  const socket = net.connect({ host, port }, () => { socket.resetAndDestroy(); resolve() }).on('error', reject)
})
const rate = async (host, port, ms) => {
  for (let count = 0; count < 20; count++) await once(host, port)
  const began = performance.now()
  let count = 0
  for (; performance.now() - began < ms; count++) await once(host, port)
  return count * 1000 / (performance.now() - began)
}
process.on('message', ({ host, port, ms }) => {
  rate(host, port, ms).then((rate) => process.send({ rate }), ({ message }) => process.send({ message }))
})
net.createServer((socket) => socket.on('error', () => {})).listen(${endpointPort}, () => process.send({}))`

interface Told {
  rate?: number
  message?: string
}

export async function makePlace(netns: string): Promise<Place> {
  pinNamespaces({ paths: { net: netns } })
  const run = (...args: string[]): string =>
    inNamespace('net', netns, () => execFileSync('ip', args, { encoding: 'utf8' }))
  // The other family would only add runs of its tools.
  inNamespace('net', netns, () => writeFileSync('/proc/sys/net/ipv6/conf/all/disable_ipv6', '1'))
  run('link', 'set', 'lo', 'up')
  run('address', 'add', `${nodeIP}/32`, 'dev', 'lo')
  run('route', 'add', 'local', endpointRange, 'dev', 'lo')
  run('route', 'add', serviceRange, 'dev', 'lo', 'src', nodeIP)
  const stdio = ['ignore', 'ignore', 'inherit', 'ipc'] as const
  const child = inNamespace('net', netns, () => spawn(process.execPath, ['-e', peer], { stdio: [...stdio] }))
  const told = async (): Promise<Told> => ((await once(child, 'message')) as [Told])[0]
  await told()
  return {
    netns,
    connect: async (host, port, seconds) => {
      child.send({ host, port, ms: seconds * 1000 })
      const { rate, message } = await told()
      if (rate === undefined) throw new Error(`connections to ${host}:${port} failed: ${message}`)
      return rate
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await once(child, 'close')
      unpinNamespace(netns)
    },
  }
}
