// Old UDP flows of a host port: the kernel would go on sending them to where they went before.
import { openNetlink } from '@nodelet/linux'
import type { Host } from '../../types.ts'

/** Forgets the flows to these ports of the machine. A failure is told of: new flows are right all the same. */
export async function forgetFlows(host: Host, family: 4 | 6, ports: readonly number[]): Promise<void> {
  if (ports.length === 0) return
  try {
    using netlink = openNetlink({ netns: host.netns })
    for (const { original, ...flow } of await netlink.conntrack.list({ family, protocol: 'udp' })) {
      if (original.destinationPort !== undefined && ports.includes(original.destinationPort))
        await netlink.conntrack.delete({ original, ...flow })
    }
  } catch (error) {
    host.log.warn({ ports, err: error as Error }, 'old UDP flows of host ports are not forgotten')
  }
}
