// UDP connections that the kernel still sends where no endpoint is any more.
import { openNetlink } from '@nodelet/linux'
import type { Flow } from '@nodelet/linux'
import type { ServiceGraph, ServiceNode } from '../graph/service-graph.ts'
import { findByKey } from '../graph/sorted.ts'
import { parseAddress } from '../net/address.ts'

const key = (address: string, port: number | undefined): string => `${parseAddress(address)?.text ?? address} ${port}`

/**
 * Flows to a UDP service port that are answered by none of its serving endpoints: gone ones, and flows from before the rules. Of
 * a port without any serving endpoint all are stale. Pure.
 *
 * @param ownAddresses of the node, in canonical text: a flow to the number of a node port elsewhere is not the Service's
 */
export function staleFlows(flows: readonly Flow[], graph: ServiceGraph, ownAddresses: ReadonlySet<string>): Flow[] {
  const fronts = new Map<string, ReadonlySet<string>>()
  const nodePorts = new Map<number, ReadonlySet<string>>()
  for (const { port, endpoints } of graph.nodes) {
    const wanted = new Set(endpoints.filter(({ serving }) => serving).map((to) => key(to.address, to.port)))
    if (port.protocol !== 'UDP') continue
    for (const address of [port.clusterIP, ...port.loadBalancerVIPs, ...port.externalIPs]) {
      fronts.set(key(address, port.port), wanted)
    }
    if (port.nodePort !== 0) nodePorts.set(port.nodePort, wanted)
  }
  return flows.filter(({ protocol, original: { destination, destinationPort = 0 }, reply }) => {
    if (protocol !== 'udp') return false
    const isOwn = ownAddresses.has(parseAddress(destination)?.text ?? destination)
    const ofNodePort = isOwn ? nodePorts.get(destinationPort) : undefined
    const wanted = fronts.get(key(destination, destinationPort)) ?? ofNodePort
    return wanted !== undefined && !wanted.has(key(reply.source, reply.sourcePort))
  })
}

/** Whether a UDP port's endpoints differ between the graphs. Pure. */
export function needsCleaning(previous: ServiceGraph | undefined, next: ServiceGraph): boolean {
  const before = previous?.nodes ?? []
  const isNext = previous !== undefined && next.change.since === previous.version
  const keys = isNext ? next.change.keys : new Set([...before, ...next.nodes].map((node) => node.key))
  return [...keys].some((name) => udpEndpoints(findByKey(before, name)) !== udpEndpoints(findByKey(next.nodes, name)))
}

function udpEndpoints(node: ServiceNode | undefined): string {
  if (node?.port.protocol !== 'UDP') return ''
  return node.endpoints
    .filter(({ serving }) => serving)
    .map(({ text }) => text)
    .join(' ')
}

/** Deletes the stale flows of a family and says how many. @throws LinuxError */
export async function cleanFlows(
  graph: ServiceGraph,
  ownAddresses: ReadonlySet<string>,
  netns?: string,
): Promise<number> {
  using netlink = openNetlink({ netns })
  const flows = await netlink.conntrack.list({ family: graph.family === 'IPv4' ? 4 : 6, protocol: 'udp' })
  let count = 0
  // One may have ended by itself meanwhile.
  for (const flow of staleFlows(flows, graph, ownAddresses)) count += await netlink.conntrack.delete(flow)
  return count
}
