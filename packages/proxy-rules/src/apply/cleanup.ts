// Takes everything of the proxy, and of the kubelet where it is to go too, out of the kernel.
import { firewallChain, isLocalnetRule } from '../iptables/localnet.ts'
import { servicePrefixes } from '../iptables/names.ts'
import type { Iptables } from './iptables-restore.ts'
import { jumpsInto } from './jumps.ts'
import { kubeletCanary, kubeletChains } from './kubelet-program.ts'
import type { SavedTable } from './saved.ts'

export const canary = 'KUBE-PROXY-CANARY'

/** Of the modes iptables and IPVS. */
const proxyChains: readonly string[] = [
  'KUBE-SERVICES',
  'KUBE-EXTERNAL-SERVICES',
  'KUBE-FORWARD',
  'KUBE-NODEPORTS',
  'KUBE-PROXY-FIREWALL',
  'KUBE-POSTROUTING',
  'KUBE-MARK-MASQ',
  'KUBE-LOAD-BALANCER',
  'KUBE-NODE-PORT',
  'KUBE-SOURCE-RANGES-FIREWALL',
  'KUBE-IPVS-FILTER',
  'KUBE-IPVS-OUT-FILTER',
  canary,
]

export interface CleanupOptions {
  /** The chains of a kubelet go too; default false: what it shares with the proxy stays while its canary is there. */
  kubelet?: boolean
}

/** The text for iptables-restore that removes our chains and all jumps to them; empty when nothing is there. Pure. */
export function cleanupText(saved: ReadonlyMap<string, SavedTable>, { kubelet = false }: CleanupOptions = {}): string {
  const fixed = kubelet ? [...proxyChains, ...kubeletChains] : proxyChains
  const isOurs = (chain: string): boolean =>
    fixed.includes(chain) || servicePrefixes.some((prefix) => chain.startsWith(prefix))
  return [...saved].map(([name, table]) => tableText(name, table, isOurs)).join('')
}

function tableText(name: string, { chains, rules }: SavedTable, isOurs: (chain: string) => boolean): string {
  const isShared = chains.has(kubeletCanary) && !isOurs(kubeletCanary)
  const hasOthers = rules.some((rule) => rule.chain === firewallChain && !isLocalnetRule(rule))
  const goes = (chain: string): boolean => isOurs(chain) || (chain === firewallChain && !isShared && !hasOthers)
  const doomed = new Set([...chains].filter(goes))
  const outside = rules.filter(({ chain }) => !doomed.has(chain))
  const ours = outside.filter((rule) => jumpsInto(rule.text, doomed) || (!isShared && isLocalnetRule(rule)))
  if (doomed.size === 0 && ours.length === 0) return ''
  return [
    `*${name}`,
    ...[...doomed].map((chain) => `:${chain} - [0:0]`),
    ...ours.map(({ chain, text }) => `-D ${chain} ${text}`),
    ...[...doomed].map((chain) => `-X ${chain}`),
    'COMMIT\n',
  ].join('\n')
}

/** Safe to run again. @throws Error when iptables refuses */
export async function cleanUp(iptables: Iptables, options: CleanupOptions = {}): Promise<void> {
  await iptables.update((saved) => cleanupText(saved, options))
}
