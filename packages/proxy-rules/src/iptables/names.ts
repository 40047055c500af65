// The names of chains that belong to one service port.
import { hash } from 'node:crypto'
import type { Endpoint } from '../graph/endpoint.ts'
import type { ServicePort } from '../graph/service-port.ts'

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/** The first 16 characters of the base32 text (RFC 4648) of the SHA-256 of `text`. */
export function chainHash(text: string): string {
  const bits = BigInt(`0x${hash('sha256', text, 'hex').slice(0, 20)}`)
  return Array.from({ length: 16 }, (_, i) => alphabet[Number((bits >> BigInt(75 - 5 * i)) & 31n)]).join('')
}

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
export const servicePrefixes: readonly string[] = ['KUBE-SVC-', 'KUBE-SVL-', 'KUBE-SEP-', 'KUBE-FW-', 'KUBE-EXT-']

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
