// One port of one Service in one address family: the unit that rules are made for.
import type { LoadBalancerIngress, Service, ServicePort as ApiPort, ServiceSpec } from 'kubernetes-types/core/v1.d.ts'
import { isSpecial, parseAddress, parseCidr, type Address, type Cidr, type IPFamily } from '../net/address.ts'
import {
  checkObject,
  hasLabel,
  isLabel,
  isObject,
  isPort,
  itemsOf,
  objectName,
  shown,
  type Problem,
  type Report,
} from './problem.ts'

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
  /** It has external IPs that are left out; to the Go proxy it can be reached from outside all the same. */
  hasHiddenIPs?: true
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

/** Shared: most Services have none of an address, or of a range. */
const nothing: readonly never[] = []
const orNothing = (texts: readonly string[]): readonly string[] => (texts.length > 0 ? texts : nothing)

const protocols: readonly string[] = ['TCP', 'UDP', 'SCTP']
const defaultAffinitySeconds = 10800

/** Whether `value` is a protocol that Services know. */
export const isProtocol = (value: unknown): value is Protocol => typeof value === 'string' && protocols.includes(value)

const enumerations = {
  type: ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'],
  internalTrafficPolicy: ['Cluster', 'Local'],
  externalTrafficPolicy: ['Cluster', 'Local'],
  sessionAffinity: ['None', 'ClientIP'],
} as const

/** A word that is none of those that a field may have is the same as none, and told. */
function checkWords(spec: ServiceSpec, report: Report): void {
  for (const [field, words] of Object.entries(enumerations)) {
    const value: unknown = spec[field as keyof typeof enumerations] ?? undefined
    // The API server writes an empty policy for no policy.
    if (value === undefined || value === '' || (words as readonly unknown[]).includes(value)) continue
    report(`spec.${field}`, `${shown(value)} is none of ${words.join(', ')}; it is left out`)
  }
}

const ipFamilies: readonly unknown[] = ['IPv4', 'IPv6']

function clusterIPOf(spec: ServiceSpec, family: IPFamily, report: Report): string | undefined {
  const families = itemsOf(spec.ipFamilies, 'spec.ipFamilies', report)
  const odd: unknown = families.find((one) => !ipFamilies.includes(one))
  if (odd !== undefined) report('spec.ipFamilies', `${shown(odd)} is none of ${ipFamilies.join(', ')}; it is left out`)
  const addresses = itemsOf(spec.clusterIPs, 'spec.clusterIPs', report)
  const text = families.length > 0 ? addresses[families.indexOf(family)] : spec.clusterIP
  if (text === undefined || text === null || text === '' || text === 'None') return undefined
  const address = parseAddress(text)
  if (address?.family === family) return address.text
  // Without families the one address may be of the other.
  if (!address) report('spec.clusterIPs', `${shown(text)} is no IP address; the Service is left out`)
  else if (families.length > 0) report('spec.clusterIPs', `${shown(text)} is no ${family} address; it is left out`)
  return undefined
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
  return addressesOf(itemsOf(spec.externalIPs, field, report), family, field, report).flatMap((address) => {
    if (!isSpecial(address)) return [address.text]
    report(field, `${address.text} is loopback, link-local or unspecified; it is left out`)
    return []
  })
}

function sourceRangesOf(spec: ServiceSpec, family: IPFamily, report: Report): string[] {
  const texts = itemsOf(spec.loadBalancerSourceRanges, 'spec.loadBalancerSourceRanges', report)
  const ranges = texts.flatMap((text): Cidr[] => {
    const range = typeof text === 'string' ? parseCidr(text.trim()) : undefined
    if (!range) report('spec.loadBalancerSourceRanges', `${shown(text)} is no CIDR; it is left out`)
    return range?.family === family ? [range] : []
  })
  return ranges.some(({ prefix }) => prefix === 0) ? [] : ranges.map(({ text }) => text)
}

const ipModes: readonly unknown[] = ['VIP', 'Proxy']

function vipsOf(service: Service, family: IPFamily, report: Report): string[] {
  const field = 'status.loadBalancer.ingress'
  checkObject(service.status, 'status', report)
  checkObject(service.status?.loadBalancer, 'status.loadBalancer', report)
  const entries = itemsOf(service.status?.loadBalancer?.ingress, field, report)
  const ips = entries.flatMap((entry: LoadBalancerIngress | null): unknown[] => {
    const mode: unknown = entry?.ipMode ?? 'VIP'
    const isKnown = isObject(entry) && ipModes.includes(mode)
    if (!isKnown) report(field, `${shown(entry)} is no entry with an ipMode of ${ipModes.join(', ')}; it is left out`)
    return isKnown && mode === 'VIP' && (entry.ip ?? '') !== '' ? [entry.ip] : []
  })
  return addressesOf(ips, family, field, report).map(({ text }) => text)
}

function affinityOf(spec: ServiceSpec, report: Report): number {
  if (spec.sessionAffinity !== 'ClientIP') return 0
  checkObject(spec.sessionAffinityConfig, 'spec.sessionAffinityConfig', report)
  checkObject(spec.sessionAffinityConfig?.clientIP, 'spec.sessionAffinityConfig.clientIP', report)
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
    isPort(port?.nodePort ?? 1) || port?.nodePort === 0 ? '' : `nodePort ${shown(port?.nodePort)}`,
  ].filter(Boolean)
  if (wrong.length > 0) report(field, `${wrong.join(', ')} cannot be used; the port is left out`)
  return wrong.length === 0
}

/**
 * The ports of `service` in `family`. None for headless and ExternalName Services, for those of another proxy and
 * for those without a cluster IP of the family; malformed parts are left out and told in `problems`.
 */
export function servicePorts(
  service: Service,
  family: IPFamily,
  problems: Problem[],
  withoutExternalIPs = false,
): ServicePort[] {
  const { metadata, spec } = service
  const object = objectName('Service', metadata)
  const report: Report = (field, message) => problems.push({ object, field, message })
  if (hasLabel(metadata, 'service.kubernetes.io/service-proxy-name')) return []
  if (!isObject(spec)) {
    report('spec', `${shown(spec)} is no object; the Service is left out`)
    return []
  }
  if (spec.type === 'ExternalName') return []
  if (!isLabel(metadata?.name) || !isLabel(metadata?.namespace)) {
    report('metadata', 'name and namespace must be DNS labels; the Service is left out')
    return []
  }
  if ((spec.clusterIP ?? '') === '' || spec.clusterIP === 'None') return []
  const clusterIP = clusterIPOf(spec, family, report)
  if (clusterIP === undefined) return []
  checkWords(spec, report)
  const hasExternalIPs = Array.isArray(spec.externalIPs) && spec.externalIPs.length > 0
  const reachable = spec.type === 'LoadBalancer' || spec.type === 'NodePort' || hasExternalIPs
  const externalPolicyLocal = reachable && spec.externalTrafficPolicy === 'Local'
  const usesHealthPort = spec.type === 'LoadBalancer' && externalPolicyLocal
  if (usesHealthPort && !isPort(spec.healthCheckNodePort))
    report('spec.healthCheckNodePort', `${shown(spec.healthCheckNodePort)} is no port; the health check has none`)
  const externalIPs = externalIPsOf(spec, family, report)
  const common = {
    namespace: metadata.namespace,
    service: metadata.name,
    clusterIP,
    externalIPs: withoutExternalIPs ? nothing : orNothing(externalIPs),
    ...(withoutExternalIPs && externalIPs.length > 0 && { hasHiddenIPs: true as const }),
    loadBalancerVIPs: orNothing(vipsOf(service, family, report)),
    sourceRanges: orNothing(sourceRangesOf(spec, family, report)),
    affinitySeconds: affinityOf(spec, report),
    healthCheckNodePort: usesHealthPort && isPort(spec.healthCheckNodePort) ? spec.healthCheckNodePort : 0,
    internalPolicyLocal: spec.internalTrafficPolicy === 'Local',
    externalPolicyLocal,
  }
  return itemsOf(spec.ports, 'spec.ports', report).flatMap((port, index): ServicePort[] => {
    if (!checkPort(port, `spec.ports[${index}]`, report)) return []
    const portName = port.name ?? ''
    const name = `${common.namespace}/${common.service}${portName && `:${portName}`}`
    const protocol = (port.protocol ?? 'TCP') as Protocol
    return [{ ...common, portName, name, protocol, port: port.port, nodePort: port.nodePort ?? 0 }]
  })
}

/** Whether the port can be reached from outside: by node port, VIP or external IP. */
export const externallyAccessible = (port: ServicePort): boolean =>
  port.nodePort !== 0 || port.loadBalancerVIPs.length > 0 || port.externalIPs.length > 0 || port.hasHiddenIPs === true
