// Which of the kernel's mechanisms the proxy uses.
import { shown } from './graph/problem.ts'

/** As in KubeProxyConfiguration. */
export type ProxyMode = 'iptables' | 'ipvs' | 'nftables'

const modes: readonly unknown[] = ['iptables', 'ipvs', 'nftables'] satisfies ProxyMode[]

/** @throws RangeError for what is no mode */
export function checkMode(mode: ProxyMode): void {
  if (!modes.includes(mode)) throw new RangeError(`mode: ${shown(mode)} is none; use iptables, ipvs or nftables`)
}
