// What a service port adds to the chains that all Services share.
import { countedBy } from './packet-counters.ts'
import { comment, type TableBuilder } from './program.ts'
import { destination, type ServiceChains } from './service-chains.ts'

/** The tables that take the rules. */
export interface Tables {
  filter: TableBuilder
  nat: TableBuilder
}

/** How entrances are written. */
export interface EntranceStyle {
  /** Count packets to node ports on 127.0.0.0/8. */
  countLocalhost: boolean
}

/** The refusal of traffic without endpoints, or undefined when it `serves`. */
function refusal({ port, choice }: ServiceChains, serves: boolean): { note: string[]; target: string[] } | undefined {
  if (serves) return undefined
  const [what, target] = choice.hasAny ? ['local endpoints', 'DROP'] : ['endpoints', 'REJECT']
  return { note: comment(`${port.name} has no ${what}`), target: ['-j', target] }
}

/** Adds the rules for cluster IP, external IPs, VIPs, node port and health check port. */
export function addEntrances({ filter, nat }: Tables, chains: ServiceChains, style: EntranceStyle): void {
  const { port, external, firewall, internalPolicy } = chains
  const enter = (what: string, address: string, chain: string): void =>
    nat.add('KUBE-SERVICES', ...comment(`${port.name} ${what}`), ...destination(port, address), '-j', chain)
  const inside = refusal(chains, internalPolicy !== undefined)
  if (internalPolicy !== undefined) enter('cluster IP', port.clusterIP, internalPolicy)
  if (inside) filter.add('KUBE-SERVICES', ...inside.note, ...destination(port, port.clusterIP), ...inside.target)

  const outside = refusal(chains, chains.servesExternal)
  const refuse = (match: readonly string[]): void => {
    if (outside) filter.add('KUBE-EXTERNAL-SERVICES', ...outside.note, ...match, ...outside.target)
  }
  for (const address of port.externalIPs) {
    if (external !== undefined) enter('external IP', address, external)
    refuse(destination(port, address))
  }
  for (const address of port.loadBalancerVIPs) {
    const chain = firewall ?? external
    if (chain !== undefined) enter('loadbalancer IP', address, chain)
    if (firewall !== undefined) {
      const note = comment(`${port.name} traffic not accepted by ${firewall}`)
      filter.add('KUBE-PROXY-FIREWALL', ...note, ...destination(port, address), '-j', 'DROP')
    }
    refuse(destination(port, address))
  }
  const p = port.protocol.toLowerCase()
  if (port.nodePort !== 0) {
    const dport = ['--dport', String(port.nodePort)]
    const enterNode = (to: readonly string[], count: readonly string[]): void => {
      const target = external === undefined ? [] : ['-j', external]
      nat.add('KUBE-NODEPORTS', ...comment(port.name), '-m', p, '-p', p, ...to, ...dport, ...count, ...target)
    }
    if (external !== undefined && style.countLocalhost) enterNode(['-d', '127.0.0.0/8'], countedBy('localhostAccepted'))
    if (external !== undefined) enterNode([], [])
    refuse(['-m', 'addrtype', '--dst-type', 'LOCAL', '-m', p, '-p', p, ...dport])
  }
  if (port.healthCheckNodePort !== 0) {
    const match = ['-m', 'tcp', '-p', 'tcp', '--dport', String(port.healthCheckNodePort)]
    filter.add('KUBE-NODEPORTS', ...comment(`${port.name} health check node port`), ...match, '-j', 'ACCEPT')
  }
}
