// A configuration as `/configz` shows it: durations in Go's spelling. Pure.
import { durationText } from './duration.ts'
import type { KubeProxyConfiguration } from './types.ts'

type Texts<Name extends string> = Record<Name, string>

function spelled<Name extends string, Section extends Texts<Name>>(section: Section, ...names: Name[]): Section {
  return { ...section, ...Object.fromEntries(names.map((name) => [name, durationText(section[name])])) }
}

const periods = ['syncPeriod', 'minSyncPeriod'] as const
const timeouts = ['tcpEstablishedTimeout', 'tcpCloseWaitTimeout', 'udpTimeout', 'udpStreamTimeout'] as const

export function configz(configuration: KubeProxyConfiguration): KubeProxyConfiguration {
  const { iptables, ipvs, nftables, conntrack } = configuration
  return {
    ...spelled(configuration, 'configSyncPeriod'),
    iptables: spelled(iptables, ...periods),
    ipvs: spelled(ipvs, ...periods, 'tcpTimeout', 'tcpFinTimeout', 'udpTimeout'),
    nftables: spelled(nftables, ...periods),
    conntrack: spelled(conntrack, ...timeouts),
  }
}
