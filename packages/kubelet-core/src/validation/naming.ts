// Rules for what a pod is called and how it finds others: host names, hosts file, resolver. Pure.
import type { HostAlias, PodDNSConfig, PodSpec } from 'kubernetes-types/core/v1.d.ts'
import { type FieldErrors, forbidden, invalid, required, tooLong } from './field-error.ts'
import { bytesOf, checked, dnsLabel, dnsSubdomain, searchDomain } from './names.ts'
import { ipAddress } from './values.ts'

const mostServers = 3
const mostSearches = 32
const mostSearchCharacters = 2048

export function* dnsConfigErrors({ dnsPolicy, dnsConfig }: PodSpec): FieldErrors {
  const path = 'spec.dnsConfig'
  if (dnsPolicy === 'None') {
    if (!dnsConfig) return yield required(path, 'must provide `dnsConfig` when `dnsPolicy` is None')
    if (!dnsConfig.nameservers?.length) {
      const detail = 'must provide at least one DNS nameserver when `dnsPolicy` is None'
      return yield required(`${path}.nameservers`, detail)
    }
  }
  yield* resolverErrors(dnsConfig ?? {}, path)
}

function* resolverErrors({ nameservers = [], searches = [], options = [] }: PodDNSConfig, path: string): FieldErrors {
  const most = (what: string): string => `must not have more than ${what}`
  if (nameservers.length > mostServers) {
    yield invalid(`${path}.nameservers`, nameservers, most(`${mostServers} nameservers`))
  }
  for (const [index, server] of nameservers.entries()) yield* ipAddress(`${path}.nameservers[${index}]`, server)
  const field = `${path}.searches`
  if (searches.length > mostSearches) yield invalid(field, searches, most(`${mostSearches} search paths`))
  if (searches.join(' ').length > mostSearchCharacters) {
    const detail = most(`${mostSearchCharacters} characters (including spaces) in the search list`)
    yield invalid(field, searches, detail)
  }
  for (const [index, search] of searches.entries()) {
    if (search !== '.') yield* checked(`${field}[${index}]`, search.replace(/\.$/, ''), searchDomain)
  }
  for (const [index, { name }] of options.entries()) {
    if (!name) yield required(`${path}.options[${index}]`, 'must not be empty')
  }
}

const longestHostname = 64

/** Newer API servers have it. */
type NewerSpec = PodSpec & { hostnameOverride?: string }

export function* hostnameErrors({ hostname, subdomain }: PodSpec): FieldErrors {
  if (hostname) yield* checked('spec.hostname', hostname, dnsLabel)
  if (subdomain) yield* checked('spec.subdomain', subdomain, dnsLabel)
}

export function* hostnameOverrideErrors({ hostnameOverride, ...spec }: NewerSpec): FieldErrors {
  if (hostnameOverride === undefined) return
  const field = 'spec.hostnameOverride'
  if (spec.setHostnameAsFQDN) yield forbidden(field, 'may not be specified when setHostnameAsFQDN is true')
  if (spec.hostNetwork) yield forbidden(field, 'may not be specified when hostNetwork is true')
  if (bytesOf(hostnameOverride) > longestHostname) yield tooLong(field, longestHostname)
  yield* checked(field, hostnameOverride, dnsSubdomain)
}

export function* hostAliasesErrors(aliases: readonly HostAlias[] = []): FieldErrors {
  for (const [index, { ip = '', hostnames = [] }] of aliases.entries()) {
    const at = `spec.hostAliases[${index}]`
    yield* ipAddress(`${at}.ip`, ip)
    for (const [number, name] of hostnames.entries()) yield* checked(`${at}.hostnames[${number}]`, name, dnsSubdomain)
  }
}
