// What a pod calls itself: hostname, fully qualified name, and the managed /etc/hosts. Pure.
import type { HostAlias, Pod } from 'kubernetes-types/core/v1.d.ts'

export interface PodHostname {
  hostname: string
  /** `HOST.SUBDOMAIN.NAMESPACE.svc.DOMAIN` when the pod has a subdomain. */
  fqdn?: string
}

const maxHostname = 63
const maxFqdn = 64

/**
 * The names of a pod that has its own network.
 * @param clusterDomain for instance `cluster.local`
 * @throws RangeError when `setHostnameAsFQDN` asks for a name that the kernel cannot hold.
 */
export function podHostname(pod: Pod, clusterDomain: string): PodHostname {
  const spec = pod.spec as (Pod['spec'] & { hostnameOverride?: string }) | undefined
  if (spec?.hostnameOverride) return { hostname: spec.hostnameOverride }
  const hostname = (spec?.hostname ?? pod.metadata?.name ?? '').slice(0, maxHostname).replace(/[-.]+$/, '')
  if (!spec?.subdomain) return { hostname }
  const fqdn = `${hostname}.${spec.subdomain}.${pod.metadata?.namespace ?? 'default'}.svc.${clusterDomain}`
  if (!spec.setHostnameAsFQDN) return { hostname, fqdn }
  if (fqdn.length > maxFqdn) {
    throw new RangeError(
      'failed to construct FQDN from pod hostname and cluster domain, ' +
        `FQDN ${fqdn} is too long (${maxFqdn} characters is the max, ${fqdn.length} characters requested)`,
    )
  }
  return { hostname: fqdn, fqdn }
}

const managedEntries = [
  ['127.0.0.1', 'localhost'],
  ['::1', 'localhost ip6-localhost ip6-loopback'],
  ['fe00::0', 'ip6-localnet'],
  ['fe00::0', 'ip6-mcastprefix'],
  ['fe00::1', 'ip6-allnodes'],
  ['fe00::2', 'ip6-allrouters'],
]

/** The /etc/hosts of a pod with its own network. */
export function hostsFile(
  podIps: readonly string[],
  { hostname, fqdn }: PodHostname,
  aliases: readonly HostAlias[] = [],
): string {
  const own = podIps.map((ip) => (fqdn && fqdn !== hostname ? [ip, fqdn, hostname] : [ip, hostname]))
  const lines = [...managedEntries, ...own].map((fields) => fields.join('\t'))
  return ['# Kubernetes-managed hosts file.', ...lines, ''].join('\n') + aliasBlock(aliases)
}

/** The /etc/hosts of a pod on the host's network: the node's own file and the pod's aliases. */
export function hostNetworkHostsFile(nodeHostsFile: string, aliases: readonly HostAlias[] = []): string {
  return `# Kubernetes-managed hosts file (host network).\n${nodeHostsFile}${aliasBlock(aliases)}`
}

function aliasBlock(aliases: readonly HostAlias[]): string {
  if (aliases.length === 0) return ''
  const lines = aliases.map(({ ip, hostnames }) => [ip, ...(hostnames ?? [])].join('\t'))
  return ['', '# Entries added by HostAliases.', ...lines, ''].join('\n')
}
