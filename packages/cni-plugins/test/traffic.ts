// Real packets between namespaces.
import type { Worker } from 'node:worker_threads'
import { openNetlink } from '@nodelet/linux'
import type { TestMachine } from './machine.ts'
import { askIn, serveIn } from './threads.ts'
import type { Question } from './threads.ts'

export interface Traffic extends AsyncDisposable {
  /** Answers each connection and each datagram with the name and where it came from. */
  serve(netns: string, port: number, name: string): Promise<void>
  /** What is answered. @throws Error when nothing is */
  ask(netns: string, address: string, port: number, from?: string): Promise<string>
  /** The same by UDP, from one port of the asking side. */
  askByUdp(netns: string, address: string, port: number): Promise<string>
  /** A namespace that is a neighbour of the host's, 10.9.0.2 and fd09::2, and has no route to pods. */
  outside(): Promise<string>
}

const udpPort = 4_000
/** Longer than a new address of IPv6 waits for those who have it already. */
const patienceMs = 5_000

export function makeTraffic({ host, pod }: TestMachine): Traffic {
  const servers: Worker[] = []
  const ask = async (netns: string, question: Omit<Question, 'patienceMs'>): Promise<string> => {
    const answer = await askIn(netns, { ...question, patienceMs })
    if ('text' in answer) return answer.text
    throw new Error(`no answer from ${question.address}: ${answer.code}`)
  }
  return {
    serve: async (netns, port, name) => void servers.push(await serveIn(netns, port, `${name} `)),
    ask: async (netns, address, port, from) => ask(netns, { address, port, ...(from && { from }) }),
    askByUdp: async (netns, address, port) => ask(netns, { address, port, udpPort }),
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
    [Symbol.asyncDispose]: async () => {
      await Promise.all(servers.map(async (thread) => thread.terminate()))
    },
  }
}
