// The names of chains that belong to one service port.
import { chainHash } from '../chain-hash.ts'
import type { Endpoint } from '../graph/endpoint.ts'
import type { ServicePort } from '../graph/service-port.ts'

/** The chains of a service port; whether each exists depends on its endpoints. */
export interface ChainNames {
  /** All endpoints. */
  cluster: string
  /** Endpoints on this node. */
  local: string
  /** Traffic from outside. */
  external: string
  /** Source ranges of VIPs. */
  firewall: string
  endpoint: (endpoint: Endpoint) => string
}

/** What the names of all per-Service chains begin with. */
const servicePrefixes: readonly string[] = ['KUBE-SVC-', 'KUBE-SVL-', 'KUBE-SEP-', 'KUBE-FW-', 'KUBE-EXT-']

/** Whether a chain belongs to a service port, be it of today or of an earlier time. */
export const isServiceChain = (chain: string): boolean => servicePrefixes.some((prefix) => chain.startsWith(prefix))

/** Names as other components look for them: at most 28 characters, stable for a name and protocol. */
export function chainNames({ name, protocol }: Pick<ServicePort, 'name' | 'protocol'>): ChainNames {
  const key = name + protocol.toLowerCase()
  const own = chainHash(key)
  return {
    cluster: `KUBE-SVC-${own}`,
    local: `KUBE-SVL-${own}`,
    external: `KUBE-EXT-${own}`,
    firewall: `KUBE-FW-${own}`,
    endpoint: ({ text }) => `KUBE-SEP-${chainHash(key + text)}`,
  }
}
