// Old UDP flows of a host port: the kernel would go on sending them to where they went before.
import { finished, startProgram } from '@nodelet/linux'
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
  const program = startProgram('conntrack', args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    signal: AbortSignal.timeout(patienceMs),
    ...(netns !== undefined && { netns }),
  })
  const { stderr: err, code } = await finished(program)
  // It ends with 1 when there was none to forget.
  if (code !== 0 && !err.includes('0 flow entries have been deleted')) throw new Error(`conntrack: ${err.trim()}`)
}
