// What a proxier may be told, and what follows from that for its rules.
import type { RequestListener } from 'node:http'
import type { KubeClient } from '@nodelet/kube-client'
import type { ConntrackSettings } from './apply/conntrack-settings.ts'
import { iptablesVariants, type IptablesVariant } from './apply/iptables-variant.ts'
import type { IpvsKernelSettings } from './apply/ipvs-kernel.ts'
import type { ZPages } from './health/metrics-endpoints.ts'
import { shown } from './graph/problem.ts'
import type { IpvsSettings } from './ipvs/style.ts'
import type { Logger } from './log.ts'
import { checkMode, type ProxyMode } from './mode.ts'
import { parseAddress } from './net/address.ts'
import type { NftablesLayout } from './nftables/style.ts'
import { checkFacts } from './node/check-facts.ts'
import type { LocalTraffic, NodeFacts } from './node/facts.ts'
import { localSource } from './node/local-traffic.ts'
import { masqueradeMark } from './node/masquerade-mark.ts'
import { nodePortAddresses } from './node/node-port-addresses.ts'

/** What there is in IPVS mode alone. */
export interface IpvsProxierOptions extends IpvsSettings, IpvsKernelSettings {
  /** Milliseconds between looks whether a real server that is gone has lost its last connection; default 1 minute. */
  terminationPeriodMs?: number | undefined
}

export interface ProxierOptions {
  /** Without `create` and `patch` it writes no events. */
  client: Pick<KubeClient, 'list' | 'watch'> & Partial<Pick<KubeClient, 'create' | 'patch'>>
  nodeName: string
  /** The node's own addresses; the first one decides which family must work. */
  nodeIPs: readonly string[]
  localTraffic: LocalTraffic
  /** Default `iptables`. What other modes left is removed once the rules are loaded. */
  mode?: ProxyMode
  /**
   * Which iptables has the rules, in iptables and IPVS mode. Default: that with a kubelet's chains, else that with more rules of others,
   * else what the machine's `iptables` is.
   */
  iptablesVariant?: IptablesVariant
  ipvs?: IpvsProxierOptions
  /** How nftables rules are written; default `fast`; `compat` is as the Go proxy writes them. */
  nftablesLayout?: NftablesLayout
  /** A pinned network namespace that stands for the host; default: the own. */
  netns?: string
  /** Milliseconds of rest after each sync; default 1000, in IPVS mode 0. The first sync runs at once. */
  minSyncPeriodMs?: number
  /** Milliseconds between looks whether somebody has flushed rules or taken some away, or changed what IPVS has, and the longest pause after failures; default 30 s. */
  syncPeriodMs?: number
  /** Where node ports answer: CIDRs, or the single word `primary`; default: everywhere, and `primary` in nftables mode. */
  nodePortAddresses?: readonly string[]
  /** Default false. */
  masqueradeAll?: boolean
  /** Default 14. */
  masqueradeBit?: number
  /** Default true; nftables mode never has them. */
  localhostNodePorts?: boolean
  /** Whether `externalIPs` of Services are served; default true. */
  allowServiceExternalIPs?: boolean
  /** Where `/healthz`, `/livez` and `/readyz` answer, for instance `0.0.0.0:10256`; default: nowhere. */
  healthzBindAddress?: string
  /** Where `/metrics`, `/healthz`, `/proxyMode` and more answer, for instance `127.0.0.1:10249`; default: nowhere. */
  metricsBindAddress?: string
  /** A server that cannot listen is the end of the proxy: `failed` is told. Default false: it is tried again each 5 s. */
  bindAddressHardFail?: boolean
  /** Connections that the kernel tracks; default as kube-proxy's. What the kernel refuses stays as it is. */
  conntrack?: ConntrackSettings
  /** What `/configz` shows; default: there is no such page. */
  configuration?: object
  /** Whether there are `/flagz`, of the configuration, and `/statusz`; default: neither. */
  pages?: ZPages
  /** Answer `/debug/pprof/` and `/debug/flags/v` where `/metrics` is; default false. */
  enableProfiling?: boolean
  /** Answers `/debug/pprof/…`; without it these answer 501. */
  profiles?: RequestListener
  /** Makes the log tell as much as `PUT /debug/flags/v` says; without it that answers 501. */
  setVerbosity?: (verbosity: number) => void
  /**
   * Told when the proxy has to be started anew: a server cannot listen and `bindAddressHardFail` is set, or the ranges of
   * the Node's pods are not those of `localTraffic` any more in mode `NodeCIDR`. Default: the log says so.
   */
  failed?: (error: Error) => void
  log?: Logger
}

export function modeOf({ mode = 'iptables' }: Pick<ProxierOptions, 'mode'>): ProxyMode {
  checkMode(mode)
  return mode
}

export function variantOf({ iptablesVariant: variant }: ProxierOptions): IptablesVariant | undefined {
  if (variant === undefined || iptablesVariants.includes(variant)) return variant
  throw new RangeError(`iptablesVariant: ${JSON.stringify(variant)} is none; use nft or legacy`)
}

export function factsOf(
  options: Omit<ProxierOptions, 'client'>,
  mode: ProxyMode,
): Omit<NodeFacts, 'interfaces' | 'conntrackLiberal'> {
  if (typeof options.nodeName !== 'string' || options.nodeName === '')
    throw new RangeError(`nodeName: ${shown(options.nodeName)} is no name`)
  if (!Array.isArray(options.nodeIPs)) throw new RangeError(`nodeIPs: ${shown(options.nodeIPs)} is no list`)
  const addresses = options.nodeIPs.map((text) => {
    const address = parseAddress(text)
    if (!address) throw new RangeError(`nodeIPs: ${shown(text)} is no IP address`)
    return address
  })
  const nodeIPs = Object.fromEntries(addresses.toReversed().map(({ family, text }) => [family, text]))
  const { nodePortAddresses: selection = [] } = options
  return {
    nodeIPs,
    nodePortAddresses: mode === 'nftables' && selection.length === 0 ? ['primary'] : selection,
    masqueradeAll: options.masqueradeAll ?? false,
    masqueradeBit: options.masqueradeBit ?? 14,
    localhostNodePorts: mode === 'iptables' && (options.localhostNodePorts ?? true),
    localTraffic: options.localTraffic,
    randomFully: true,
    nfacct: false,
  }
}

/** What would otherwise be found out with each load, and tried again without end. @throws RangeError */
export function checkAll(facts: NodeFacts): void {
  checkFacts(facts)
  masqueradeMark(facts.masqueradeBit)
  for (const family of ['IPv4', 'IPv6'] as const) {
    localSource(facts.localTraffic, family)
    nodePortAddresses(facts, family)
  }
}
