// A KubeProxyConfiguration as the options of a proxier. Pure.
import type { ConntrackSettings } from '../apply/conntrack-settings.ts'
import { parseAddress, type IPFamily } from '../net/address.ts'
import type { LocalTraffic } from '../node/facts.ts'
import type { IpvsProxierOptions, ProxierOptions } from '../options.ts'
import { configz } from './configz.ts'
import { checkedMs } from './duration.ts'
import { isOn } from './features.ts'
import { canonicalListenAddress } from './listen-address.ts'
import type { ConfiguredMode, KubeProxyConfiguration } from './types.ts'

/** What of a proxier a configuration decides. */
export type ConfiguredOptions = Pick<
  ProxierOptions,
  | 'localTraffic'
  | 'mode'
  | 'ipvs'
  | 'minSyncPeriodMs'
  | 'syncPeriodMs'
  | 'nodePortAddresses'
  | 'masqueradeAll'
  | 'masqueradeBit'
  | 'localhostNodePorts'
  | 'allowServiceExternalIPs'
  | 'healthzBindAddress'
  | 'metricsBindAddress'
  | 'bindAddressHardFail'
  | 'enableProfiling'
  | 'conntrack'
  | 'configuration'
  | 'pages'
>

export const configuredMode = ({ mode }: KubeProxyConfiguration): ConfiguredMode => mode || 'iptables'

/** @param podCIDRs of the Node, for `detectLocalMode: NodeCIDR` */
export function proxierOptionsOf(
  configuration: KubeProxyConfiguration,
  podCIDRs: readonly string[] = [],
): ConfiguredOptions {
  const mode = configuredMode(configuration)
  const { syncPeriod, minSyncPeriod } = configuration[mode]
  // Those of iptables are for the mode ipvs, too, which has its rules there.
  const { masqueradeAll, masqueradeBit } = configuration[mode === 'ipvs' ? 'iptables' : mode]
  const { healthzBindAddress, metricsBindAddress } = configuration
  return {
    mode,
    ...(mode === 'ipvs' && { ipvs: ipvsOf(configuration) }),
    masqueradeAll,
    masqueradeBit,
    syncPeriodMs: checkedMs(syncPeriod),
    minSyncPeriodMs: checkedMs(minSyncPeriod),
    localhostNodePorts: configuration.iptables.localhostNodePorts,
    localTraffic: localTrafficOf(configuration, podCIDRs),
    nodePortAddresses: configuration.nodePortAddresses,
    allowServiceExternalIPs: isOn('AllowServiceExternalIPs', configuration.featureGates),
    ...(healthzBindAddress !== '' && { healthzBindAddress: canonicalListenAddress(healthzBindAddress) }),
    ...(metricsBindAddress !== '' && { metricsBindAddress: canonicalListenAddress(metricsBindAddress) }),
    bindAddressHardFail: configuration.bindAddressHardFail,
    enableProfiling: configuration.enableProfiling,
    conntrack: conntrackOf(configuration),
    configuration: configz(configuration),
    pages: {
      flagz: isOn('ComponentFlagz', configuration.featureGates),
      statusz: isOn('ComponentStatusz', configuration.featureGates),
    },
  }
}

function localTrafficOf(
  { detectLocalMode, detectLocal, clusterCIDR }: KubeProxyConfiguration,
  podCIDRs: readonly string[],
): LocalTraffic {
  if (detectLocalMode === 'BridgeInterface') return { mode: detectLocalMode, interface: detectLocal.bridgeInterface }
  if (detectLocalMode === 'InterfaceNamePrefix')
    return { mode: detectLocalMode, prefix: detectLocal.interfaceNamePrefix }
  if (detectLocalMode === 'NodeCIDR') return { mode: detectLocalMode, cidrs: podCIDRs }
  return { mode: 'ClusterCIDR', cidrs: clusterCIDR === '' ? [] : clusterCIDR.split(',') }
}

/** Seconds, as the kernel keeps them; 0 leaves what it has. */
function ipvsOf({ ipvs }: KubeProxyConfiguration): IpvsProxierOptions {
  const seconds = (text: string): number => Math.trunc(checkedMs(text) / 1000)
  return {
    scheduler: ipvs.scheduler,
    excludeCIDRs: ipvs.excludeCIDRs,
    strictARP: ipvs.strictARP,
    tcpTimeoutSeconds: seconds(ipvs.tcpTimeout),
    tcpFinTimeoutSeconds: seconds(ipvs.tcpFinTimeout),
    udpTimeoutSeconds: seconds(ipvs.udpTimeout),
  }
}

function conntrackOf({ conntrack }: KubeProxyConfiguration): ConntrackSettings {
  const seconds = (text: string): number => Math.trunc(checkedMs(text) / 1000)
  return {
    maxPerCore: conntrack.maxPerCore,
    min: conntrack.min,
    tcpEstablishedSeconds: seconds(conntrack.tcpEstablishedTimeout),
    tcpCloseWaitSeconds: seconds(conntrack.tcpCloseWaitTimeout),
    tcpBeLiberal: conntrack.tcpBeLiberal,
    udpSeconds: seconds(conntrack.udpTimeout),
    udpStreamSeconds: seconds(conntrack.udpStreamTimeout),
  }
}

/**
 * The node's addresses: those of the Node, and `bindAddress`, unless it is unspecified, instead of that of its family and
 * before the other; loopback where there are none.
 */
export function nodeIPsOf({ bindAddress }: KubeProxyConfiguration, ofNode: readonly string[]): string[] {
  const known = ofNode.flatMap((text) => parseAddress(text) ?? [])
  const bound = parseAddress(bindAddress)
  const isSpecific = bound !== undefined && bound.value !== 0n
  const all = isSpecific ? [bound, ...known] : known
  const primary = all[0]?.family ?? bound?.family ?? 'IPv4'
  const families: IPFamily[] = primary === 'IPv4' ? ['IPv4', 'IPv6'] : ['IPv6', 'IPv4']
  const loopback: Record<IPFamily, string> = { IPv4: '127.0.0.1', IPv6: '::1' }
  return families.map((family) => all.find((one) => one.family === family)?.text ?? loopback[family])
}
