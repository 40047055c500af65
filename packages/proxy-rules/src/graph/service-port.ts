// One port of one Service in one address family: the unit that rules are made for.
import type { Service, ServicePort as ApiPort, ServiceSpec } from 'kubernetes-types/core/v1.d.ts'
import { isSpecial, parseAddress, parseCidr, type Address, type Cidr, type IPFamily } from '../net/address.ts'
import { isLabel, isPort, listOf, objectName, shown, type Problem } from './problem.ts'

/** A transport protocol that Services know. */
export type Protocol = 'TCP' | 'UDP' | 'SCTP'

/** The facts of a service port that rules depend on. */
export interface ServicePort {
  namespace: string
  service: string
  /** Empty for the unnamed port. */
  portName: string
  protocol: Protocol
  /** `ns/name:port`, or `ns/name` for the unnamed port; the protocol is not in it. */
  name: string
  clusterIP: string
  port: number
  /** 0 for none. */
  nodePort: number
  externalIPs: readonly string[]
  loadBalancerVIPs: readonly string[]
  /** Who may use the VIPs; empty is everybody. */
  sourceRanges: readonly string[]
  /** Client-address affinity in seconds; 0 is none. */
  affinitySeconds: number
  /** 0 for none. */
  healthCheckNodePort: number
  internalPolicyLocal: boolean
  externalPolicyLocal: boolean
}

const protocols: readonly string[] = ['TCP', 'UDP', 'SCTP']
const defaultAffinitySeconds = 10800

/** Whether `value` is a protocol that Services know. */
export const isProtocol = (value: unknown): value is Protocol => typeof value === 'string' && protocols.includes(value)

type Report = (field: string, message: string) => void

function clusterIPOf(spec: ServiceSpec, family: IPFamily, report: Report): string | undefined {
  const families = listOf(spec.ipFamilies)
  const text = families.length > 0 ? listOf(spec.clusterIPs)[families.indexOf(family)] : spec.clusterIP
  if (!text || text === 'None') return undefined
  const address = parseAddress(text)
  if (!address) report('spec.clusterIPs', `${shown(text)} is no IP address; the Service is left out`)
  return address?.family === family ? address.text : undefined
}

function addressesOf(texts: readonly unknown[], family: IPFamily, field: string, report: Report): Address[] {
  return texts.flatMap((text) => {
    const address = parseAddress(text)
    if (!address) report(field, `${shown(text)} is no IP address; it is left out`)
    return address?.family === family ? [address] : []
  })
}

function externalIPsOf(spec: ServiceSpec, family: IPFamily, report: Report): string[] {
  const field = 'spec.externalIPs'
  return addressesOf(listOf(spec.externalIPs), family, field, report).flatMap((address) => {
    if (!isSpecial(address)) return [address.text]
    report(field, `${address.text} is loopback, link-local or unspecified; it is left out`)
    return []
  })
}

function sourceRangesOf(spec: ServiceSpec, family: IPFamily, report: Report): string[] {
  const texts = listOf(spec.loadBalancerSourceRanges)
  const ranges = texts.flatMap((text): Cidr[] => {
    const range = typeof text === 'string' ? parseCidr(text.trim()) : undefined
    if (!range) report('spec.loadBalancerSourceRanges', `${shown(text)} is no CIDR; it is left out`)
    return range?.family === family ? [range] : []
  })
  return ranges.some(({ prefix }) => prefix === 0) ? [] : ranges.map(({ text }) => text)
}

function vipsOf(service: Service, family: IPFamily, report: Report): string[] {
  const ingress = listOf(service.status?.loadBalancer?.ingress)
  const ips = ingress.filter((entry) => entry?.ip && (entry.ipMode ?? 'VIP') === 'VIP').map(({ ip }) => ip)
  return addressesOf(ips, family, 'status.loadBalancer.ingress', report).map(({ text }) => text)
}

function affinityOf(spec: ServiceSpec, report: Report): number {
  if (spec.sessionAffinity !== 'ClientIP') return 0
  const seconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySeconds
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= 86400) return seconds
  report('spec.sessionAffinityConfig', `${shown(seconds)} is not 1 to 86400 seconds; ${defaultAffinitySeconds} is used`)
  return defaultAffinitySeconds
}

function checkPort(port: ApiPort | null, field: string, report: Report): port is ApiPort {
  const name = port?.name ?? ''
  const wrong = [
    isPort(port?.port) ? '' : `port ${shown(port?.port)}`,
    name === '' || isLabel(name) ? '' : `name ${shown(name)}`,
    isProtocol(port?.protocol ?? 'TCP') ? '' : `protocol ${shown(port?.protocol)}`,
    !port?.nodePort || isPort(port.nodePort) ? '' : `nodePort ${shown(port.nodePort)}`,
  ].filter(Boolean)
  if (wrong.length > 0) report(field, `${wrong.join(', ')} cannot be used; the port is left out`)
  return wrong.length === 0
}

/**
 * The ports of `service` in `family`. None for headless and ExternalName Services, for those of another proxy and
 * for those without a cluster IP of the family; malformed parts are left out and told in `problems`.
 */
export function servicePorts(service: Service, family: IPFamily, problems: Problem[]): ServicePort[] {
  const { metadata, spec } = service
  const object = objectName('Service', metadata)
  const report: Report = (field, message) => problems.push({ object, field, message })
  if (!spec || spec.type === 'ExternalName') return []
  if (metadata?.labels && 'service.kubernetes.io/service-proxy-name' in metadata.labels) return []
  if (!isLabel(metadata?.name) || !isLabel(metadata?.namespace)) {
    report('metadata', 'name and namespace must be DNS labels; the Service is left out')
    return []
  }
  if (!spec.clusterIP || spec.clusterIP === 'None') return []
  const clusterIP = clusterIPOf(spec, family, report)
  if (clusterIP === undefined) return []
  const reachable = spec.type === 'LoadBalancer' || spec.type === 'NodePort' || listOf(spec.externalIPs).length > 0
  const externalPolicyLocal = reachable && spec.externalTrafficPolicy === 'Local'
  const usesHealthPort = spec.type === 'LoadBalancer' && externalPolicyLocal
  if (usesHealthPort && !isPort(spec.healthCheckNodePort))
    report('spec.healthCheckNodePort', `${shown(spec.healthCheckNodePort)} is no port; the health check has none`)
  const common = {
    namespace: metadata.namespace,
    service: metadata.name,
    clusterIP,
    externalIPs: externalIPsOf(spec, family, report),
    loadBalancerVIPs: vipsOf(service, family, report),
    sourceRanges: sourceRangesOf(spec, family, report),
    affinitySeconds: affinityOf(spec, report),
    healthCheckNodePort: usesHealthPort && isPort(spec.healthCheckNodePort) ? spec.healthCheckNodePort : 0,
    internalPolicyLocal: spec.internalTrafficPolicy === 'Local',
    externalPolicyLocal,
  }
  return listOf(spec.ports).flatMap((port, index): ServicePort[] => {
    if (!checkPort(port, `spec.ports[${index}]`, report)) return []
    const portName = port.name ?? ''
    const name = `${common.namespace}/${common.service}${portName && `:${portName}`}`
    const protocol = (port.protocol ?? 'TCP') as Protocol
    return [{ ...common, portName, name, protocol, port: port.port, nodePort: port.nodePort ?? 0 }]
  })
}

/** Whether the port can be reached from outside: by node port, VIP or external IP. */
export const externallyAccessible = (port: ServicePort): boolean =>
  port.nodePort !== 0 || port.loadBalancerVIPs.length > 0 || port.externalIPs.length > 0
