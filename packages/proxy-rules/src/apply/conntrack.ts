// UDP connections that the kernel still sends where no endpoint is any more.
import { openNetlink } from '@nodelet/linux'
import type { Flow } from '@nodelet/linux'
import type { ServiceGraph, ServiceNode } from '../graph/service-graph.ts'
import { findByKey } from '../graph/sorted.ts'
import { parseAddress } from '../net/address.ts'
import { eachInTurn, finish, inSlices, type Steps } from '../slices.ts'

const key = (address: string, port: number | undefined): string => `${address} ${port}`
/** As the graph has it. */
const canonical = (address: string): string => parseAddress(address)?.text ?? address

/**
 * Flows to a UDP service port that are answered by none of its serving endpoints: gone ones, and flows from before the rules. Of
 * a port without any serving endpoint all are stale. Pure.
 *
 * @param ownAddresses of the node, in canonical text: a flow to the number of a node port elsewhere is not the Service's
 */
export const staleFlows = (flows: readonly Flow[], graph: ServiceGraph, ownAddresses: ReadonlySet<string>): Flow[] =>
  finish(staleFlowsInTurn(flows, graph, ownAddresses))

function* staleFlowsInTurn(
  flows: readonly Flow[],
  { nodes }: ServiceGraph,
  ownAddresses: ReadonlySet<string>,
): Steps<Flow[]> {
  const fronts = new Map<string, ServiceNode>()
  const nodePorts = new Map<number, ServiceNode>()
  yield* eachInTurn(nodes, (node) => {
    const { port } = node
    if (port.protocol !== 'UDP') return
    for (const address of [port.clusterIP, ...port.loadBalancerVIPs, ...port.externalIPs])
      fronts.set(key(address, port.port), node)
    if (port.nodePort !== 0) nodePorts.set(port.nodePort, node)
  })
  const stale: Flow[] = []
  yield* eachInTurn(flows, (flow) => {
    const { protocol, original, reply } = flow
    if (protocol !== 'udp') return
    const { destinationPort = 0 } = original
    const destination = canonical(original.destination)
    const ofNodePort = ownAddresses.has(destination) ? nodePorts.get(destinationPort) : undefined
    const node = fronts.get(key(destination, destinationPort)) ?? ofNodePort
    if (node && !isServing(node, canonical(reply.source), reply.sourcePort)) stale.push(flow)
  })
  return stale
}

const isServing = ({ endpoints }: ServiceNode, address: string, port: number | undefined): boolean =>
  endpoints.some((endpoint) => endpoint.serving && endpoint.address === address && endpoint.port === port)

/** Whether a UDP port's endpoints differ between the graphs; without a graph before they may. Pure. */
export function needsCleaning(previous: ServiceGraph | undefined, next: ServiceGraph): boolean {
  if (!previous) return next.nodes.some(isUDP)
  const before = previous.nodes
  const isNext = next.change.since === previous.version
  const names = isNext ? next.change.keys : [...before, ...next.nodes].filter(isUDP).map((node) => node.key)
  const differs = (name: string): boolean =>
    udpEndpoints(findByKey(before, name)) !== udpEndpoints(findByKey(next.nodes, name))
  return [...names].some(differs)
}

const isUDP = ({ port }: ServiceNode): boolean => port.protocol === 'UDP'

function udpEndpoints(node: ServiceNode | undefined): string {
  if (!node || !isUDP(node)) return ''
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
  for (const flow of await inSlices(staleFlowsInTurn(flows, graph, ownAddresses)))
    count += await netlink.conntrack.delete(flow)
  return count
}
