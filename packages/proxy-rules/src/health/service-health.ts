// Health check node ports: load balancers ask there whether this node has endpoints of a Service.
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import { inNetns } from '../apply/program.ts'
import type { EventRecorder } from '../events.ts'
import type { ServiceGraph, ServiceNode } from '../graph/service-graph.ts'
import { findByPrefix } from '../graph/sorted.ts'
import type { Logger } from '../log.ts'
import { parseAddress, type IPFamily } from '../net/address.ts'
import { send } from './http.ts'

/** What a load balancer is told of one Service. */
export interface ServiceHealth {
  namespace: string
  name: string
  port: number
  /** Ready endpoints on this node, each address once. */
  localEndpoints: number
}

/** The same of each family that the Service has. */
type FamilyHealth = Partial<Record<IPFamily, ServiceHealth>>

/** The Services of these nodes that have a health check node port, by `namespace/name`. Pure. */
function serviceHealth(nodes: readonly ServiceNode[]): Map<string, ServiceHealth> {
  const addresses = new Map<string, Set<string>>()
  const found = new Map<string, ServiceHealth>()
  for (const { port, endpoints } of nodes) {
    if (port.healthCheckNodePort === 0) continue
    const key = `${port.namespace}/${port.service}`
    const ready = addresses.get(key) ?? new Set()
    addresses.set(key, ready)
    for (const endpoint of endpoints) {
      if (endpoint.local && endpoint.ready && !endpoint.terminating) ready.add(endpoint.address)
    }
    const { namespace, service: name, healthCheckNodePort } = port
    found.set(key, { namespace, name, port: healthCheckNodePort, localEndpoints: ready.size })
  }
  return found
}

/** The body of an answer, byte for byte as kube-proxy writes it. Pure. */
export function healthBody({ namespace, name, localEndpoints }: ServiceHealth, proxyHealthy: boolean): string {
  return [
    '{',
    '\t"service": {',
    `\t\t"namespace": ${JSON.stringify(namespace)},`,
    `\t\t"name": ${JSON.stringify(name)}`,
    '\t},',
    `\t"localEndpoints": ${localEndpoints},`,
    `\t"serviceProxyHealthy": ${proxyHealthy}`,
    '}',
  ].join('\n')
}

export interface HealthServers {
  /** Opens and closes listeners as the graphs say, one per Service for all families. A port in use is tried again with the next call. */
  update(graphs: readonly ServiceGraph[]): void
  close(): Promise<void>
}

export interface HealthServerOptions {
  nodeName: string
  netns: string | undefined
  /** Whether rules are being loaded in time. */
  isHealthy(): boolean
  /** Whether node ports answer on this address. */
  answersOn(address: string): boolean
  events: Pick<EventRecorder, 'onService'>
  log: Logger
}

interface Listener {
  server: Server
  port: number
  health: FamilyHealth
}

/** What is known of one family. */
interface KnownFamily {
  /** Of the graph. */
  version: object
  services: Map<string, ServiceHealth>
}

export function createHealthServers(options: HealthServerOptions): HealthServers {
  const listeners = new Map<string, Listener>()
  const families = new Map<IPFamily, KnownFamily>()
  /** Services whose port could not be opened. */
  const failed = new Set<string>()
  const drop = (key: string): void => {
    const listener = listeners.get(key)
    listeners.delete(key)
    listener?.server.close()
    listener?.server.closeAllConnections()
  }
  const wanted = (key: string): FamilyHealth | undefined => {
    const found = [...families].flatMap(([family, { services }]) => {
      const health = services.get(key)
      return health ? [[family, health] as const] : []
    })
    return found.length > 0 ? Object.fromEntries(found) : undefined
  }
  const listen = (key: string): void => {
    const health = wanted(key)
    const present = listeners.get(key)
    if (present && health) present.health = health
    else if (health)
      listeners.set(
        key,
        open(health, options, () => {
          listeners.delete(key)
          failed.add(key)
        }),
      )
  }
  return {
    update: (graphs) => {
      const touched = new Set(failed)
      failed.clear()
      for (const graph of graphs) for (const key of follow(families, graph)) touched.add(key)
      for (const key of touched) if (portOf(wanted(key)) !== listeners.get(key)?.port) drop(key)
      for (const key of touched) listen(key)
    },
    close: async () => {
      const closed = [...listeners.values()].map(
        ({ server }) => new Promise((resolve) => server.once('close', resolve)),
      )
      for (const key of listeners.keys()) drop(key)
      await Promise.all(closed)
    },
  }
}

/** Takes over what a graph has otherwise than the one of its family before, and says for which Services that may matter. */
function follow(families: Map<IPFamily, KnownFamily>, { family, nodes, version, change }: ServiceGraph): Set<string> {
  const known = families.get(family)
  if (known?.version === version) return new Set()
  if (known?.version !== change.since) {
    const services = serviceHealth(nodes)
    families.set(family, { version, services })
    return new Set([...services.keys(), ...(known?.services.keys() ?? [])])
  }
  const changed = new Set([...change.keys].map((key) => key.split('/', 2).join('/')))
  for (const key of changed) {
    const health = serviceHealth(findByPrefix(nodes, `${key}/`)).get(key)
    if (health) known.services.set(key, health)
    else known.services.delete(key)
  }
  known.version = version
  return changed
}

/** It is the Service's, and so the same for all families. */
const anyOf = ({ IPv4, IPv6 }: FamilyHealth): ServiceHealth | undefined => IPv4 ?? IPv6
const portOf = (health: FamilyHealth | undefined): number | undefined => health && anyOf(health)?.port

function open(health: FamilyHealth, options: HealthServerOptions, onFailure: () => void): Listener {
  const { nodeName, netns, isHealthy, answersOn, events, log } = options
  const listener: Listener = { health, port: portOf(health) ?? 0, server: createServer() }
  const { server, port } = listener
  const healthAt = (address: string | undefined): ServiceHealth | undefined =>
    listener.health[parseAddress(address)?.family ?? 'IPv4']
  server.on('request', (request, response) => {
    request.resume()
    const own = healthAt(request.socket.localAddress)
    if (!own) return void response.destroy()
    const healthy = isHealthy()
    send(response, healthy && own.localEndpoints > 0 ? 200 : 503, 'application/json', healthBody(own, healthy), {
      'X-Load-Balancing-Endpoint-Weight': String(own.localEndpoints),
    })
  })
  server.on('connection', (socket) => {
    const address = socket.localAddress?.replace(/^::ffff:/, '') ?? ''
    if (!healthAt(address) || !answersOn(address)) socket.destroy()
  })
  server.on('error', (error) => {
    const { namespace = '', name = '' } = anyOf(listener.health) ?? {}
    log.warn({ err: error, namespace, name, port }, 'node port for health checks cannot be opened: it is tried again')
    events.onService(namespace, name, {
      type: 'Warning',
      reason: 'FailedToStartServiceHealthcheck',
      action: 'Listen',
      note: `node ${nodeName} failed to start healthcheck "${namespace}/${name}" on port ${port}: ${error.message}`,
    })
    onFailure()
  })
  // Without an address the socket is made in this very call, so that it belongs to the network namespace.
  inNetns(netns, () => server.listen(port))
  return listener
}
