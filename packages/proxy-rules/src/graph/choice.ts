// Which endpoints of a service port traffic goes to.
import type { Endpoint } from './endpoint.ts'
import { externallyAccessible, type ServicePort } from './service-port.ts'

/** The endpoints in use, each list in the order of `Endpoint.text`. */
export interface Choice {
  /** For the traffic policy Cluster. */
  cluster: readonly Endpoint[]
  /** For the traffic policy Local. */
  local: readonly Endpoint[]
  /** In either list. */
  reachable: readonly Endpoint[]
  /** Whether any endpoint anywhere could serve; without, traffic is rejected instead of dropped. */
  hasAny: boolean
}

/** Where endpoints are chosen for. */
export interface Place {
  nodeName: string
  /** Empty when unknown; it then matches no hint. */
  zone: string
  /** External IPs of Services are left out (the gate AllowServiceExternalIPs is off); default false. */
  withoutExternalIPs?: boolean | undefined
}

type Admits = (endpoint: Endpoint) => boolean

const every: Admits = () => true
const isReady: Admits = ({ ready }) => ready
const isLeaving: Admits = ({ serving, terminating }) => serving && terminating

function hinted(ready: readonly Endpoint[], names: (endpoint: Endpoint) => readonly string[], ours: string): Admits {
  const all = ours !== '' && ready.length > 0 && ready.every((endpoint) => names(endpoint).length > 0)
  const admits: Admits = (endpoint) => names(endpoint).includes(ours)
  return all && ready.some(admits) ? admits : every
}

function topology(ready: readonly Endpoint[], { nodeName, zone }: Place): Admits {
  const byNode = hinted(ready, ({ nodeHints }) => nodeHints, nodeName)
  return byNode === every ? hinted(ready, ({ zoneHints }) => zoneHints, zone) : byNode
}

/** The same list where that is all of it: one in memory will do. */
const those = (endpoints: readonly Endpoint[], admits: Admits): readonly Endpoint[] =>
  endpoints.length === 0 ? nobody : endpoints.every(admits) ? endpoints : endpoints.filter(admits)

const nobody: readonly Endpoint[] = []

const readyElseLeaving = (endpoints: readonly Endpoint[], admits: Admits): readonly Endpoint[] => {
  const ready = those(endpoints, (endpoint) => isReady(endpoint) && admits(endpoint))
  return ready.length > 0 ? ready : those(endpoints, isLeaving)
}

/** Those in one of two lists of them, in their order. */
function either(
  endpoints: readonly Endpoint[],
  some: readonly Endpoint[],
  others: readonly Endpoint[],
): readonly Endpoint[] {
  if (others.length === 0 || some === endpoints) return some
  if (some.length === 0) return others
  const used = new Set([...some, ...others])
  return those(endpoints, (endpoint) => used.has(endpoint))
}

/**
 * Chooses among all `endpoints` of `port`: ready ones that topology hints admit, and serving ones that terminate when
 * none is ready.
 */
export function chooseEndpoints(port: ServicePort, endpoints: readonly Endpoint[], place: Place): Choice {
  const outside = externallyAccessible(port)
  const usesCluster = !port.internalPolicyLocal || outside
  const usesLocal = port.internalPolicyLocal || (port.externalPolicyLocal && outside)
  const admits = topology(those(endpoints, isReady), place)
  const cluster = usesCluster ? readyElseLeaving(endpoints, admits) : nobody
  const ours = usesLocal ? those(endpoints, (endpoint) => endpoint.local) : nobody
  const local = usesLocal ? readyElseLeaving(ours, every) : nobody
  return {
    cluster,
    local,
    reachable: either(endpoints, cluster, local),
    hasAny: cluster.length > 0 || (usesLocal && endpoints.some((endpoint) => isReady(endpoint) || isLeaving(endpoint))),
  }
}
