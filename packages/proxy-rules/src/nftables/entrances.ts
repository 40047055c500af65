// What a service port adds to the sets and maps that all Services share.
import type { Choice } from '../graph/choice.ts'
import { externallyAccessible, type ServicePort } from '../graph/service-port.ts'
import type { NftablesNames } from './names.ts'
import type { Element } from './program.ts'

/** Which of a service port's chains there are. */
export interface Served {
  /** Whether traffic from inside, and from outside, has endpoints. */
  inside: boolean
  outside: boolean
  external: boolean
  firewall: boolean
}

export function servedBy(port: ServicePort, { hasAny, local }: Choice): Served {
  const serves = (isLocal: boolean): boolean => hasAny && (!isLocal || local.length > 0)
  return {
    inside: serves(port.internalPolicyLocal),
    outside: serves(port.externalPolicyLocal),
    external: hasAny && externallyAccessible(port),
    firewall: port.loadBalancerVIPs.length > 0 && port.sourceRanges.length > 0,
  }
}

/** The elements for cluster IP, external IPs, VIPs, node port and hairpin connections. */
export function entrances(port: ServicePort, choice: Choice, served: Served, names: NftablesNames): Element[] {
  const p = port.protocol.toLowerCase()
  const front = (address: string): string => `${address} . ${p} . ${port.port}`
  const refused = choice.hasAny ? 'drop' : 'goto reject-chain'
  const refuse = (container: string, key: string): Element => ({
    container,
    key,
    verdict: refused,
    comment: port.name,
  })
  const fromOutside = (entry: string, refusals: string, key: string): Element[] => [
    ...(served.external ? [{ container: entry, key, verdict: `goto ${names.external}` }] : []),
    ...(served.outside ? [] : [refuse(refusals, key)]),
  ]
  const inside = front(port.clusterIP)
  const internal = port.internalPolicyLocal ? names.local : names.cluster
  const nodePort = `${p} . ${port.nodePort}`
  return [
    { container: 'cluster-ips', key: port.clusterIP },
    served.inside
      ? { container: 'service-ips', key: inside, verdict: `goto ${internal}` }
      : refuse('no-endpoint-services', inside),
    ...[...port.externalIPs, ...port.loadBalancerVIPs].flatMap((address) =>
      fromOutside('service-ips', 'no-endpoint-services', front(address)),
    ),
    ...(port.nodePort === 0 ? [] : fromOutside('service-nodeports', 'no-endpoint-nodeports', nodePort)),
    ...(served.firewall ? port.loadBalancerVIPs : []).map((address) => ({
      container: 'firewall-ips',
      key: front(address),
      verdict: `goto ${names.firewall}`,
    })),
    ...choice.reachable
      .filter(({ local }) => local)
      .map((to) => ({ container: 'hairpin-connections', key: `${to.address} . ${to.address} . ${p} . ${to.port}` })),
  ]
}
