// A row of the table of packets: a Service, what is behind it, and what happens to packets for it.
import type { Service, ServiceSpec } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import type { IPFamily, NodeFacts, Protocol } from '@nodelet/proxy-rules'
import * as at from './places.ts'
import { families, isHere, site, type Place } from './places.ts'

/** What a packet is sent to: an address of the row's Service, or something near it. */
export type Target =
  | 'cluster IP'
  | 'external IP'
  | 'VIP'
  | 'node port'
  | 'node port of the second address'
  | 'node port of the gateway'
  | 'node port of loopback'
  | 'health check node port'
  | 'another port of the cluster IP'
  | 'a cluster IP of nobody'
  | 'service port of the node'
  | 'an endpoint itself'
  | 'a server on loopback'

/** `crowd`: many clients, each from an address of its own. `VIP of the node`: the node, which has the row's VIP as its own. */
export type Sender = Place | 'crowd' | 'VIP of the node' | 'loopback of the node'

/** Ready and serving, unless it says otherwise. */
export interface EndpointRow {
  at: Place
  /** Nobody says of which node it is. */
  hasNoNode?: true
  /** Further addresses of it. */
  also?: readonly Place[]
  ready?: boolean
  serving?: boolean
  terminating?: boolean
  zones?: readonly string[]
  nodes?: readonly string[]
}

export interface ServiceRow {
  /** What is not a ClusterIP has a node port. */
  type?: 'ClusterIP' | 'NodePort' | 'LoadBalancer'
  hasExternalIP?: boolean
  /** It has one in its status, with this `ipMode` unless that is `unset`. */
  vip?: 'VIP' | 'Proxy' | 'unset'
  protocols?: readonly Protocol[]
  /** Of endpoints; default 8080. */
  targetPorts?: Partial<Record<Protocol, number>>
  /** Of all its ports; default: each is named after its protocol. */
  portName?: string
  /** Whatever else it has. */
  spec?: Partial<ServiceSpec>
}

/** What happens to a packet. */
export type Fate =
  /**
   * It comes to one of these, each of them if it is sent often enough, and the source stays or becomes the node's. With `isLost` the
   * answers go to the sender by another way, where nobody knows them to be answers.
   */
  | { reaches: readonly string[]; source: 'kept' | 'masqueraded'; isLost?: true }
  /** The sender is told at once. */
  | 'refused'
  /** It is never heard of again. */
  | 'dropped'
  /** The rules have nothing to do with it. */
  | 'untouched'
  /** A health check is answered with this status. */
  | { status: 200 | 503 }

export interface PacketRow {
  from: Sender
  to: Target
  fate: Fate
  /** Default: each that the Service has. */
  protocol?: Protocol
  family?: IPFamily
  /** Only in modes whose names begin so, or in one of these ways. */
  mode?: string | readonly string[]
  /** How often it is sent, over each protocol; each endpoint then gets its share. */
  evenly?: number
  /** The same of many endpoints: it comes to most of those that chance would have it come to. */
  sample?: number
  /** All that one sender sends comes to the same endpoint; `once`: it sends only one packet, whose endpoint is remembered. */
  isSticky?: true | 'once'
  /** The socket is that of the packet with this name in a step before. */
  flow?: string
  /** What connection tracking takes it for; default: for what its first packet was, which is `new`. */
  state?: 'invalid'
  /** Whether senders are answered by whom they were answered before; false: not all of them are. */
  stays?: boolean
  /** Over which protocol they were answered before; default: the same. */
  comparedTo?: Protocol
}

/** The Service's state and the packets at that moment. */
export interface Step {
  /** False: it is not there yet, or no more. */
  isThere?: boolean
  service?: ServiceRow
  endpoints?: readonly EndpointRow[]
  /** Milliseconds after the step before. */
  pauseMs?: number
  /** The node has forgotten all connections. */
  forgets?: true
  packets: readonly PacketRow[]
}

/** What the node has besides: rows that have the same are loaded together. */
export interface Setting {
  facts?: Partial<Omit<NodeFacts, 'interfaces' | 'nodeIPs' | 'serviceCIDRs'>>
  serviceCIDRs?: readonly string[]
  /** Default `z1`. */
  zone?: string
  /** Of the chains INPUT and FORWARD of iptables, for IPv4. */
  policy?: 'DROP'
  /** The node has the row's VIP as an address of its own. */
  ownsVIP?: true
  /** Also where the rules do not ask for it, addresses of 127.0.0.0/8 are routed like others. */
  routesLocalnet?: true
  /** Connection tracking takes no packet but a first one for the beginning of a connection. */
  isStrict?: true
  /** So many endpoints, none of them ready, are behind another Service, in the step with this index. */
  others?: readonly number[]
}

export interface Row extends Step {
  name: string
  service: ServiceRow
  endpoints: readonly EndpointRow[]
  next?: readonly Step[]
  setting?: Setting
  /** Mode, or the beginning of its name → why the row does not hold there. */
  notIn?: Partial<Record<string, string>>
}

export const stepsOf = (row: Row): Step[] => [row, ...(row.next ?? [])]

export const namespace = 'rows'
export const serviceName = (number: number): string => `row-${number}`
const usualPort = 8080
const usualProtocols: readonly Protocol[] = ['TCP', 'UDP']
export const protocolsOf = ({ protocols = usualProtocols }: ServiceRow): readonly Protocol[] => protocols

const portNameOf = ({ portName }: ServiceRow, protocol: Protocol): string => portName ?? protocol.toLowerCase()

export function serviceOf(number: number, row: ServiceRow): Service {
  const { type = 'ClusterIP', hasExternalIP = false, vip, spec } = row
  const texts = (address: at.PerFamily): string[] => families.map((family) => address[family])
  const ipMode = vip === undefined || vip === 'unset' ? {} : { ipMode: vip }
  const ingress = vip === undefined ? [] : texts(at.vip(number)).map((ip) => ({ ip, ...ipMode }))
  return {
    metadata: { namespace, name: serviceName(number), uid: serviceName(number) },
    spec: {
      type,
      clusterIP: at.clusterIP(number).IPv4,
      clusterIPs: texts(at.clusterIP(number)),
      ipFamilies: [...families],
      ports: protocolsOf(row).map((protocol) => ({
        name: portNameOf(row, protocol),
        protocol,
        port: at.servicePort,
        ...(type !== 'ClusterIP' && { nodePort: at.nodePort(number) }),
      })),
      ...(hasExternalIP && { externalIPs: texts(at.externalIP(number)) }),
      healthCheckNodePort: at.healthPort(number),
      ...spec,
    },
    status: { loadBalancer: { ingress: [...ingress, { hostname: 'lb.example' }] } },
  }
}

export function slicesOf(number: number, row: ServiceRow, endpoints: readonly EndpointRow[]): EndpointSlice[] {
  const named = (names: readonly string[] = []): { name: string }[] => names.map((name) => ({ name }))
  return families.map((family) => ({
    metadata: {
      namespace,
      name: `${serviceName(number)}-${family.toLowerCase()}`,
      labels: { 'kubernetes.io/service-name': serviceName(number) },
    },
    addressType: family,
    endpoints: endpoints.map(({ at: place, also = [], hasNoNode, ready, serving, terminating, zones, nodes }) => ({
      addresses: [place, ...also].map((one) => site(one).address[family]),
      ...(!hasNoNode && { nodeName: isHere(place) ? 'here' : 'elsewhere' }),
      conditions: {
        ...(ready !== undefined && { ready }),
        ...(serving !== undefined && { serving }),
        ...(terminating !== undefined && { terminating }),
      },
      ...((zones ?? nodes) && { hints: { forZones: named(zones), forNodes: named(nodes) } }),
    })),
    ports: protocolsOf(row).map((protocol) => ({
      name: portNameOf(row, protocol),
      protocol,
      port: row.targetPorts?.[protocol] ?? usualPort,
    })),
  }))
}

/** Whether it is no address of a Service. */
export const isDirect = (target: Target): boolean =>
  target === 'an endpoint itself' || target === 'a server on loopback'

/** Where a packet of a row is sent to. */
export function targetOf(number: number, target: Target, family: IPFamily): { address: string; port: number } {
  const nodePort = at.nodePort(number)
  const port = at.servicePort
  const [address, to] = (
    {
      'cluster IP': [at.clusterIP(number), port],
      'external IP': [at.externalIP(number), port],
      VIP: [at.vip(number), port],
      'node port': [at.places.node.address, nodePort],
      'node port of the second address': [at.nodeSecond, nodePort],
      'node port of the gateway': [at.podGateway, nodePort],
      'node port of loopback': [{ IPv4: '127.0.0.1', IPv6: '::1' }, nodePort],
      'health check node port': [at.places.node.address, at.healthPort(number)],
      'another port of the cluster IP': [at.clusterIP(number), 81],
      'a cluster IP of nobody': [at.unusedClusterIP, port],
      'service port of the node': [at.places.node.address, port],
      'an endpoint itself': [at.places.a.address, usualPort],
      'a server on loopback': [at.places.loopback.address, usualPort],
    } satisfies Record<Target, [at.PerFamily, number]>
  )[target]
  return { address: address[family], port: to }
}
