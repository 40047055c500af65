// The chains of one service port: policies, firewall, endpoints.
import type { Choice } from '../graph/choice.ts'
import type { Endpoint } from '../graph/endpoint.ts'
import { externallyAccessible, type ServicePort } from '../graph/service-port.ts'
import { cidrContains, parseAddress, parseCidr } from '../net/address.ts'
import { eachInTurn, type Steps } from '../slices.ts'
import type { LocalMatch } from './local-match.ts'
import { chainNames } from './names.ts'
import { comment, type TableBuilder } from './program.ts'

/** The chains that a service port has, and the endpoints behind them. */
export interface ServiceChains {
  port: ServicePort
  choice: Choice
  cluster: string
  local: string
  /** Undefined when nothing reaches the port from outside. */
  external: string | undefined
  firewall: string | undefined
  /** The policy chain for cluster-internal traffic; undefined when it has no endpoints. */
  internalPolicy: string | undefined
  /** Whether traffic from outside has endpoints. */
  servesExternal: boolean
  endpoints: ReadonlyMap<Endpoint, string>
  /** Of all that exist. */
  names: readonly string[]
}

/** How the chains are written. */
export interface ChainStyle {
  /** False leaves comments out of policy and endpoint chains, for large clusters. */
  comments: boolean
  local: LocalMatch | undefined
  masqueradeAll: boolean
  nodeIP: string | undefined
}

/** Decides which chains `port` has. */
export function serviceChains(port: ServicePort, choice: Choice): ServiceChains {
  const names = chainNames(port)
  const { hasAny, cluster, local } = choice
  const external = hasAny && externallyAccessible(port) ? names.external : undefined
  const restricted = port.loadBalancerVIPs.length > 0 && port.sourceRanges.length > 0
  const firewall = hasAny && restricted ? names.firewall : undefined
  const serves = (isLocal: boolean): boolean => hasAny && (!isLocal || local.length > 0)
  const endpoints = new Map(choice.reachable.map((endpoint) => [endpoint, names.endpoint(endpoint)]))
  const policies = [...(cluster.length > 0 ? [names.cluster] : []), ...(local.length > 0 ? [names.local] : [])]
  const internal = port.internalPolicyLocal ? names.local : names.cluster
  return {
    port,
    choice,
    cluster: names.cluster,
    local: names.local,
    external,
    firewall,
    internalPolicy: serves(port.internalPolicyLocal) ? internal : undefined,
    servesExternal: serves(port.externalPolicyLocal),
    endpoints,
    names: [...policies, ...[external, firewall].filter((name) => name !== undefined), ...endpoints.values()],
  }
}

/** Match arguments for packets to `address` and the port. */
export const destination = ({ protocol, port }: ServicePort, address: string): string[] => {
  const p = protocol.toLowerCase()
  return ['-m', p, '-p', p, '-d', address, '--dport', String(port)]
}

function addExternal(nat: TableBuilder, chain: string, chains: ServiceChains, style: ChainStyle): void {
  const { port, cluster, local } = chains
  const to = `${port.name} external destinations`
  if (!port.externalPolicyLocal) {
    nat.add(chain, ...comment(`masquerade traffic for ${to}`), '-j', 'KUBE-MARK-MASQ')
    nat.add(chain, '-j', cluster)
    return
  }
  if (style.local) nat.add(chain, ...comment(`pod traffic for ${to}`), ...style.local.local, '-j', cluster)
  const fromNode = ['-m', 'addrtype', '--src-type', 'LOCAL']
  nat.add(chain, ...comment(`masquerade LOCAL traffic for ${to}`), ...fromNode, '-j', 'KUBE-MARK-MASQ')
  nat.add(chain, ...comment(`route LOCAL traffic for ${to}`), ...fromNode, '-j', cluster)
  if (chains.servesExternal) nat.add(chain, '-j', local)
}

function addFirewall(nat: TableBuilder, chain: string, { port, external }: ServiceChains, nodeIP?: string): void {
  const target = external ? ['-j', external] : []
  const accept = (source: string): void =>
    nat.add(chain, ...comment(`${port.name} loadbalancer IP`), '-s', source, ...target)
  for (const range of port.sourceRanges) accept(range)
  const node = parseAddress(nodeIP)
  const ranges = port.sourceRanges.map(parseCidr).filter((range) => range !== undefined)
  if (node && ranges.some((range) => cidrContains(range, node))) for (const vip of port.loadBalancerVIPs) accept(vip)
  nat.add(chain, ...comment(`other traffic to ${port.name} will be dropped by KUBE-PROXY-FIREWALL`))
}

/** One in `count`, as Go prints it: it rounds a half to the even digit, and JavaScript up. Of all fractions 1/2048 alone ends in such a half. */
const probability = (count: number): string => (count === 2048 ? '0.0004882812' : (1 / count).toFixed(10))

function* addPolicy(
  nat: TableBuilder,
  chain: string,
  endpoints: readonly Endpoint[],
  chains: ServiceChains,
  remark: (text: string) => string[],
): Steps<void> {
  const { port } = chains
  const targets = endpoints.map((endpoint) => ({
    sep: chains.endpoints.get(endpoint) ?? '',
    note: remark(`${port.name} -> ${endpoint.text}`),
  }))
  if (port.affinitySeconds > 0) {
    const seen = ['--rcheck', '--seconds', String(port.affinitySeconds), '--reap']
    yield* eachInTurn(targets, ({ sep, note }) =>
      nat.add(chain, ...note, '-m', 'recent', '--name', sep, ...seen, '-j', sep),
    )
  }
  yield* eachInTurn(targets.entries(), ([index, { sep, note }]) => {
    const left = targets.length - index
    const chance = ['-m', 'statistic', '--mode', 'random', '--probability', probability(left)]
    nat.add(chain, ...note, ...(left > 1 ? chance : []), '-j', sep)
  })
}

/** Declares and fills the chains of a service port in the nat table; to be done in slices, for it may have thousands of endpoints. */
export function* addServiceChainsInTurn(nat: TableBuilder, chains: ServiceChains, style: ChainStyle): Steps<void> {
  const { port, choice, internalPolicy } = chains
  const remark = (text: string): string[] => (style.comments ? comment(text) : [])
  for (const name of chains.names) nat.declare(name)
  const notLocal = style.masqueradeAll ? [] : style.local?.notLocal
  if (internalPolicy !== undefined && notLocal) {
    const match = [...destination(port, port.clusterIP), ...notLocal]
    nat.add(internalPolicy, ...comment(`${port.name} cluster IP`), ...match, '-j', 'KUBE-MARK-MASQ')
  }
  if (chains.external !== undefined) addExternal(nat, chains.external, chains, style)
  if (chains.firewall !== undefined) addFirewall(nat, chains.firewall, chains, style.nodeIP)
  if (choice.cluster.length > 0) yield* addPolicy(nat, chains.cluster, choice.cluster, chains, remark)
  if (choice.local.length > 0) yield* addPolicy(nat, chains.local, choice.local, chains, remark)
  const p = port.protocol.toLowerCase()
  yield* eachInTurn(chains.endpoints, ([endpoint, sep]) => {
    nat.add(sep, ...remark(port.name), '-s', endpoint.address, '-j', 'KUBE-MARK-MASQ')
    const remember = port.affinitySeconds > 0 ? ['-m', 'recent', '--name', sep, '--set'] : []
    const translate = ['-m', p, '-p', p, '-j', 'DNAT', '--to-destination', endpoint.text]
    nat.add(sep, ...remark(port.name), ...remember, ...translate)
  })
}
