// UDP connections that the kernel still sends where no endpoint is any more.
import { openNetlink } from '@nodelet/linux'
import type { Flow } from '@nodelet/linux'
import type { ServiceGraph, ServiceNode } from '../graph/service-graph.ts'
import { parseAddress } from '../net/address.ts'
const key = (address: string, port: number | undefined): string => `${parseAddress(address)?.text ?? address} ${port}`

/**
 * Flows to a UDP service port that are answered by none of its serving endpoints: gone ones, and flows from before the rules.
 * Ports without any serving endpoint are passed over, as upstream does. Pure.
 */
export function staleFlows(flows: readonly Flow[], graph: ServiceGraph): Flow[] {
  const fronts = new Map<string, ReadonlySet<string>>()
  const nodePorts = new Map<number, ReadonlySet<string>>()
  for (const { port, endpoints } of graph.nodes) {
    const wanted = new Set(endpoints.filter(({ serving }) => serving).map((to) => key(to.address, to.port)))
    if (port.protocol !== 'UDP' || wanted.size === 0) continue
    for (const address of [port.clusterIP, ...port.loadBalancerVIPs, ...port.externalIPs]) {
      fronts.set(key(address, port.port), wanted)
    }
    if (port.nodePort !== 0) nodePorts.set(port.nodePort, wanted)
  }
  return flows.filter(({ protocol, original: { destination, destinationPort = 0 }, reply }) => {
    if (protocol !== 'udp') return false
    const wanted = fronts.get(key(destination, destinationPort)) ?? nodePorts.get(destinationPort)
    return wanted !== undefined && !wanted.has(key(reply.source, reply.sourcePort))
  })
}

/** Whether a UDP port's endpoints differ between the graphs. Pure. */
export function needsCleaning(previous: ServiceGraph | undefined, next: ServiceGraph): boolean {
  const before = udpEndpoints(previous?.nodes ?? [])
  const after = udpEndpoints(next.nodes)
  return [...before.keys(), ...after.keys()].some((name) => (before.get(name) ?? '') !== (after.get(name) ?? ''))
}

function udpEndpoints(nodes: readonly ServiceNode[]): Map<string, string> {
  const udp = nodes.filter(({ port }) => port.protocol === 'UDP')
  return new Map(
    udp.map(({ port, endpoints }) => [
      port.name,
      endpoints
        .filter(({ serving }) => serving)
        .map(({ text }) => text)
        .join(' '),
    ]),
  )
}

/** Deletes the stale flows of a family and says how many. @throws LinuxError */
export async function cleanFlows(graph: ServiceGraph, netns?: string): Promise<number> {
  using netlink = openNetlink({ netns })
  const flows = await netlink.conntrack.list({ family: graph.family === 'IPv4' ? 4 : 6, protocol: 'udp' })
  let count = 0
  // One may have ended by itself meanwhile.
  for (const flow of staleFlows(flows, graph)) count += await netlink.conntrack.delete(flow)
  return count
}
