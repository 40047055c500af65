// The names of the table and of what belongs to one service port.
import { chainHash } from '../chain-hash.ts'
import type { Endpoint } from '../graph/endpoint.ts'
import type { ServicePort } from '../graph/service-port.ts'

/** The table of both families. */
export const tableName = 'kube-proxy'

const hashLength = 8
const longest = 240

/** A hash before `text`, and both cut to 240 characters: the kernel allows 256, with the prefix. */
function base(text: string): string {
  const name = `${chainHash(text).slice(0, hashLength)}-${text}`
  return name.length > longest ? `${name.slice(0, longest - 3)}...` : name
}

/** The chains of a service port; whether each exists depends on its endpoints. */
export interface NftablesNames {
  /** All endpoints. */
  cluster: string
  /** Endpoints on this node. */
  local: string
  /** Traffic from outside. */
  external: string
  /** Source ranges of VIPs. */
  firewall: string
  /** The rest of the names of an endpoint's chain and affinity set. */
  endpoint: (endpoint: Endpoint) => { chain: string; affinity: string }
}

/** Names as the Go proxy makes them, at most 249 characters. */
export function nftablesNames(port: ServicePort): NftablesNames {
  const { namespace, service, protocol, portName } = port
  const path = `${namespace}/${service}/${protocol.toLowerCase()}/${portName}`
  const own = base(path)
  return {
    cluster: `service-${own}`,
    local: `local-${own}`,
    external: `external-${own}`,
    firewall: `firewall-${own}`,
    endpoint: (endpoint) => {
      // A colon cannot be in a name.
      const name = base(`${path}__${endpoint.address.replaceAll(':', '.')}/${endpoint.port}`)
      return { chain: `endpoint-${name}`, affinity: `affinity-${name}` }
    },
  }
}
