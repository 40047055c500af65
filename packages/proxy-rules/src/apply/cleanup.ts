// Takes everything of the proxy, and of the kubelet where it is to go too, out of the kernel.
import { firewallChain, isLocalnetRule } from '../iptables/localnet.ts'
import { servicePrefixes } from '../iptables/names.ts'
import { glueChains } from '../ipvs/glue.ts'
import type { Iptables } from './iptables-restore.ts'
import { iptablesJumps, ipvsJumps, isRuleOf, jumpsInto, type Jump } from './jumps.ts'
import { kubeletCanary, kubeletChains } from './kubelet-program.ts'
import type { SavedTable } from './saved.ts'

export const canary = 'KUBE-PROXY-CANARY'

/** Those that only the mode ipvs has. */
export const ipvsChains: readonly string[] = [
  'KUBE-LOAD-BALANCER',
  'KUBE-NODE-PORT',
  'KUBE-SOURCE-RANGES-FIREWALL',
  'KUBE-IPVS-FILTER',
  'KUBE-IPVS-OUT-FILTER',
]

const proxyChains: readonly string[] = [
  'KUBE-SERVICES',
  'KUBE-EXTERNAL-SERVICES',
  'KUBE-FORWARD',
  'KUBE-NODEPORTS',
  'KUBE-PROXY-FIREWALL',
  'KUBE-POSTROUTING',
  'KUBE-MARK-MASQ',
  canary,
  ...ipvsChains,
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
  return removalText(name, doomed, ours)
}

function removalText(table: string, chains: ReadonlySet<string>, rules: SavedTable['rules']): string {
  if (chains.size === 0 && rules.length === 0) return ''
  return [
    `*${table}`,
    ...[...chains].map((chain) => `:${chain} - [0:0]`),
    ...rules.map(({ chain, text }) => `-D ${chain} ${text}`),
    ...[...chains].map((chain) => `-X ${chain}`),
    'COMMIT\n',
  ].join('\n')
}

/** What the modes iptables and ipvs have in one table, apart from chains of single Services. */
const usedChains: Readonly<Record<IptablesMode, (table: string) => readonly string[]>> = {
  iptables: () => proxyChains.filter((chain) => !ipvsChains.includes(chain)),
  ipvs: (table) => (table === 'nat' || table === 'filter' ? glueChains[table] : []),
}
const modeJumps: Readonly<Record<IptablesMode, readonly Jump[]>> = { iptables: iptablesJumps, ipvs: ipvsJumps }

/** The modes whose rules are in iptables. */
export type IptablesMode = 'iptables' | 'ipvs'

/**
 * The text that removes what the other one of the two modes has left: chains that this mode does not have, and jumps that it does
 * not make. Empty when nothing is there. Pure.
 */
export function leftoverText(saved: ReadonlyMap<string, SavedTable>, mode: IptablesMode): string {
  const isService = (chain: string): boolean => servicePrefixes.some((prefix) => chain.startsWith(prefix))
  return [...saved]
    .map(([name, { chains, rules }]) => {
      const used = new Set(usedChains[mode](name))
      const goes = (chain: string): boolean =>
        !used.has(chain) && (proxyChains.includes(chain) || (mode === 'ipvs' && isService(chain)))
      const doomed = new Set([...chains].filter(goes))
      const isOurs = (chain: string): boolean => proxyChains.includes(chain) || isService(chain)
      const jumps = rules.filter((rule) => !isOurs(rule.chain) && jumpsInto(rule.text, new Set([...doomed, ...used])))
      const odd = jumps.filter((rule) => !modeJumps[mode].some((jump) => jump.table === name && isRuleOf(rule, jump)))
      return removalText(name, doomed, odd)
    })
    .join('')
}

/** Safe to run again. @throws Error when iptables refuses */
export async function cleanUp(iptables: Iptables, options: CleanupOptions = {}): Promise<void> {
  await iptables.update((saved) => cleanupText(saved, options))
}
