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

const server = `require('net').createServer((socket) => socket.on('error', () => {})).listen(${endpointPort}, () => console.log())`

/** Connections are reset, so that none is left to wait for late packets and ports do not run out. */
const client = `
const [host, port, ms] = process.argv.slice(1)
const once = () => new Promise((resolve, reject) => {
  const socket = require('net').connect({ host, port }, () => { socket.resetAndDestroy(); resolve() }).on('error', reject)
})
;(async () => {
  for (let count = 0; count < 50; count++) await once()
  const began = performance.now()
  let count = 0
  for (; performance.now() - began < ms; count++) await once()
  console.log(count * 1000 / (performance.now() - began))
})()`

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
  const start = (...args: string[]) =>
    inNamespace('net', netns, () => spawn(process.execPath, ['-e', ...args], { stdio: ['ignore', 'pipe', 'inherit'] }))
  const serving = start(server)
  await once(serving.stdout, 'data')
  return {
    netns,
    connect: async (address, port, seconds) => {
      const child = start(client, address, String(port), String(seconds * 1000))
      const chunks: string[] = []
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => chunks.push(chunk))
      const [code] = (await once(child, 'close')) as [number]
      if (code !== 0) throw new Error(`connections to ${address}:${port} failed`)
      return Number(chunks.join(''))
    },
    async [Symbol.asyncDispose]() {
      serving.kill('SIGKILL')
      await once(serving, 'close')
      unpinNamespace(netns)
    },
  }
}
