// The resolver configuration of a pod from its DNS policy. Pure.
import type { Pod, PodDNSConfigOption } from 'kubernetes-types/core/v1.d.ts'

/** As CRI `DNSConfig` carries it. */
export interface DnsConfig {
  servers: string[]
  searches: string[]
  options: string[]
}

export interface DnsFacts {
  /** The node's resolv.conf, already read. */
  node: DnsConfig
  /** KubeletConfiguration `clusterDNS`. */
  clusterDns: readonly string[]
  /** KubeletConfiguration `clusterDomain`, for instance `cluster.local`. */
  clusterDomain: string
}

export interface DnsResult {
  config: DnsConfig
  /** What was cut or fell back; each is an event for the pod. */
  warnings: { reason: 'MissingClusterDNS' | 'DNSConfigForming'; message: string }[]
}

const maxServers = 3
export const maxSearches = 32
export const maxSearchLength = 2048

/** Reads a resolv.conf: name servers, the last search line, the last options line; comments and unknown words are passed over. */
export function parseResolvConf(text: string): DnsConfig {
  const config: DnsConfig = { servers: [], searches: [], options: [] }
  for (const line of text.split('\n')) {
    const [word, ...values] = line
      .replace(/^[ \t]*[;#].*/, '')
      .trim()
      .split(/\s+/)
    if (word === 'nameserver' && values[0]) config.servers.push(values[0])
    else if (word === 'search')
      config.searches = values.map((value) => (value === '.' ? value : value.replace(/\.$/, '')))
    else if (word === 'options') config.options = values
  }
  return config
}

/** The resolver configuration of a pod, with what had to be cut to the resolver's limits. */
export function podDns(pod: Pod, facts: DnsFacts): DnsResult {
  const warnings: DnsResult['warnings'] = []
  const base = basis(pod, facts, warnings)
  const own = pod.spec?.dnsConfig
  const merged: DnsConfig = {
    servers: unique([...base.servers, ...(own?.nameservers ?? [])]),
    searches: unique([...base.searches, ...(own?.searches ?? [])]),
    options: mergeOptions(base.options, own?.options ?? []),
  }
  return { config: cut(merged, warnings), warnings }
}

function basis(pod: Pod, facts: DnsFacts, warnings: DnsResult['warnings']): DnsConfig {
  const policy = pod.spec?.dnsPolicy ?? 'ClusterFirst'
  if (policy === 'None') return { servers: [], searches: [], options: [] }
  const cluster = policy === 'ClusterFirstWithHostNet' || (policy === 'ClusterFirst' && !pod.spec?.hostNetwork)
  if (!cluster) return facts.node
  if (facts.clusterDns.length === 0) {
    const { name, namespace, uid } = pod.metadata ?? {}
    warnings.push({
      reason: 'MissingClusterDNS',
      message:
        `pod: "${name}_${namespace}(${uid})". kubelet does not have ClusterDNS IP configured and cannot create Pod using ` +
        `"${policy}" policy. Falling back to "Default" policy.`,
    })
    return facts.node
  }
  const domain = facts.clusterDomain
  const searches = [`${pod.metadata?.namespace ?? 'default'}.svc.${domain}`, `svc.${domain}`, domain]
  return {
    servers: [...facts.clusterDns],
    searches: unique([...searches, ...facts.node.searches]),
    options: ['ndots:5'],
  }
}

function mergeOptions(base: readonly string[], own: readonly PodDNSConfigOption[]): string[] {
  const options = new Map(base.map((option) => [option.split(':')[0] ?? option, option]))
  for (const { name, value } of own) if (name) options.set(name, value ? `${name}:${value}` : name)
  return [...options.values()]
}

function cut(config: DnsConfig, warnings: DnsResult['warnings']): DnsConfig {
  const servers = config.servers.slice(0, maxServers)
  if (servers.length < config.servers.length) {
    const message = `Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: ${servers.join(' ')}`
    warnings.push({ reason: 'DNSConfigForming', message })
  }
  const searches = config.searches.slice(0, maxSearches)
  while (searches.join(' ').length > maxSearchLength) searches.pop()
  if (searches.length < config.searches.length) {
    const message = `Search Line limits were exceeded, some search paths have been omitted, the applied search line is: ${searches.join(' ')}`
    warnings.push({ reason: 'DNSConfigForming', message })
  }
  return { ...config, servers, searches }
}

function unique(values: readonly string[]): string[] {
  return [...new Set(values)]
}
