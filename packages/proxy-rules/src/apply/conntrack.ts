// UDP connections that the kernel still sends where no endpoint is any more.
import type { ServiceGraph, ServiceNode } from '../graph/service-graph.ts'
import type { IPFamily } from '../net/address.ts'
import { parseAddress } from '../net/address.ts'
import { runProgram } from './program.ts'

/** A tracked UDP flow: what the client sent, and who answers. */
export interface Flow {
  source: string
  sourcePort: number
  destination: string
  destinationPort: number
  replySource: string
  replySourcePort: number
}

const line = /^udp\s.*?src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+).*?src=(\S+) dst=\S+ sport=(\d+) dport=\d+/

/** Reads what `conntrack -L -p udp` prints; other lines are passed over. Pure. */
export function parseFlows(text: string): Flow[] {
  return text.split('\n').flatMap((row) => {
    const [, source, destination, sourcePort, destinationPort, replySource, replySourcePort] = line.exec(row) ?? []
    if (source === undefined || destination === undefined || replySource === undefined) return []
    return [
      {
        source,
        sourcePort: Number(sourcePort),
        destination,
        destinationPort: Number(destinationPort),
        replySource,
        replySourcePort: Number(replySourcePort),
      },
    ]
  })
}

const key = (address: string, port: number): string => `${parseAddress(address)?.text ?? address} ${port}`

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
  return flows.filter((flow) => {
    const wanted = fronts.get(key(flow.destination, flow.destinationPort)) ?? nodePorts.get(flow.destinationPort)
    return wanted !== undefined && !wanted.has(key(flow.replySource, flow.replySourcePort))
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

/** Deletes the stale flows of a family and says how many. @throws Error when the `conntrack` program fails */
export async function cleanFlows(graph: ServiceGraph, netns?: string): Promise<number> {
  const family = kernelName(graph.family)
  const listed = await runProgram('conntrack', ['-L', '-f', family, '-p', 'udp'], { netns })
  if (listed.code !== 0) throw new Error(`conntrack -L -p udp failed with ${listed.code}: ${listed.stderr.trim()}`)
  const stale = staleFlows(parseFlows(listed.stdout), graph)
  for (const flow of stale) {
    const { code, stderr } = await runProgram('conntrack', ['-D', '-f', family, ...tuple(flow)], { netns })
    // It may have ended by itself meanwhile.
    if (code !== 0 && !stderr.includes('0 flow entries')) {
      throw new Error(`conntrack -D ${tuple(flow).join(' ')} failed with ${code}: ${stderr.trim()}`)
    }
  }
  return stale.length
}

function kernelName(family: IPFamily): string {
  return family === 'IPv4' ? 'ipv4' : 'ipv6'
}

function tuple({ source, destination, sourcePort, destinationPort }: Flow): string[] {
  const ports = ['--sport', String(sourcePort), '--dport', String(destinationPort)]
  return ['-p', 'udp', '--orig-src', source, '--orig-dst', destination, ...ports]
}
