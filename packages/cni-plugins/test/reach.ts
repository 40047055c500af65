// Connections between namespaces.
import type { Worker } from 'node:worker_threads'
import { afterEach } from 'vitest'
import type { CniResult, PodNetwork } from '../src/index.ts'
import type { TestMachine } from './machine.ts'
import { askIn, serveIn } from './threads.ts'

/** A server that answers each connection with the address that it comes from; all end with the test. */
export function useServers(): (netns: string, port: number) => Promise<void> {
  const servers: Worker[] = []
  afterEach(async () => {
    await Promise.all(servers.splice(0).map(async (thread) => thread.terminate()))
  })
  return async (netns, port) => void servers.push(await serveIn(netns, port, ''))
}

/** What a server says, or that none can be reached. */
export async function ask(netns: string, address: string, port: number): Promise<string> {
  const answer = await askIn(netns, { address, port, patienceMs: 3000 })
  return 'text' in answer ? answer.text : answer.code
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
