// Old UDP flows of a host port: the kernel would go on sending them to where they went before.
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { inNamespace } from '@nodelet/linux'
import type { Host } from '../../types.ts'

const patienceMs = 10_000

/** Forgets the flows to these ports of the machine. A failure is told of: new flows are right all the same. */
export async function forgetFlows(host: Host, family: 4 | 6, ports: readonly number[]): Promise<void> {
  for (const port of new Set(ports)) {
    try {
      await run(host.netns, ['-D', '-p', 'udp', '-f', `ipv${family}`, '--orig-port-dst', String(port)])
    } catch (error) {
      host.log.warn({ port, err: error as Error }, 'old UDP flows of a host port are not forgotten: install conntrack')
    }
  }
}

async function run(netns: string | undefined, args: readonly string[]): Promise<void> {
  const start = (): ChildProcess =>
    spawn('conntrack', args, { timeout: patienceMs, killSignal: 'SIGKILL', stdio: ['ignore', 'ignore', 'pipe'] })
  const child = netns === undefined ? start() : inNamespace('net', netns, start)
  const { promise: ended, resolve, reject } = Promise.withResolvers<number | null>()
  child.once('error', reject).once('close', resolve)
  if (!child.stderr) throw new Error('conntrack: no output')
  const [err, code] = await Promise.all([text(child.stderr), ended])
  // It ends with 1 when there was none to forget.
  if (code !== 0 && !err.includes('0 flow entries have been deleted')) throw new Error(`conntrack: ${err.trim()}`)
}
