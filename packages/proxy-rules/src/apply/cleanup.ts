// Takes everything of the proxy, and of the kubelet where it is to go too, out of the kernel.
import { firewallChain, isLocalnetRule } from '../iptables/localnet.ts'
import { isServiceChain } from '../iptables/names.ts'
import { deletableInPieces } from '../iptables/load.ts'
import type { Iptables } from './iptables-restore.ts'
import { chainsAtOnce } from './iptables-variant.ts'
import { jumpsInto } from './jumps.ts'
import { kubeletCanary, kubeletChains } from './kubelet-program.ts'
import type { SavedTable, SavedTables } from './saved.ts'

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

/** At most how many chains a text may delete; default: any number. */
export interface CleanupLimits {
  most?: number
}

/**
 * The texts for iptables-restore that remove our chains and all jumps to them, one after the other; none when nothing is there.
 * The first of several takes all traffic off the chains that the others delete. Pure.
 */
export function cleanupTexts(
  saved: SavedTables,
  { kubelet = false, most = Infinity }: CleanupOptions & CleanupLimits = {},
): string[] {
  const fixed = kubelet ? [...proxyChains, ...kubeletChains] : proxyChains
  const isOurs = (chain: string): boolean => fixed.includes(chain) || isServiceChain(chain)
  return [...saved].flatMap(([name, table]) => tableTexts(name, table, { isOurs, most }))
}

/** How many rules neither belong to a proxy or a kubelet nor lead to their chains. Pure. */
export function othersRules(saved: SavedTables): number {
  const isOurs = (chain: string): boolean =>
    [...proxyChains, ...kubeletChains, firewallChain].includes(chain) || isServiceChain(chain)
  const tables = [...saved.values()]
  return tables.reduce((sum, { chains, rules }) => {
    const ours = new Set([...chains].filter(isOurs))
    return sum + rules.filter(({ chain, text }) => !ours.has(chain) && !jumpsInto(text, ours)).length
  }, 0)
}

function tableTexts(
  name: string,
  { chains, rules }: SavedTable,
  { isOurs, most }: { isOurs(chain: string): boolean; most: number },
): string[] {
  const isShared = chains.has(kubeletCanary) && !isOurs(kubeletCanary)
  const hasOthers = rules.some((rule) => rule.chain === firewallChain && !isLocalnetRule(rule))
  const goes = (chain: string): boolean => isOurs(chain) || (chain === firewallChain && !isShared && !hasOthers)
  const doomed = new Set([...chains].filter(goes))
  const outside = rules.filter(({ chain }) => !doomed.has(chain))
  const ours = outside.filter((rule) => jumpsInto(rule.text, doomed) || (!isShared && isLocalnetRule(rule)))
  if (doomed.size === 0 && ours.length === 0) return []
  const removals = ours.map(({ chain, text }) => `-D ${chain} ${text}`)
  if (doomed.size <= most) return [tableText(name, [...doomed], removals, [...doomed])]
  const fixed = [...doomed].filter((chain) => !isServiceChain(chain))
  const pieces = deletableInPieces([...doomed].filter(isServiceChain), most)
  return [
    tableText(name, fixed, removals, []),
    ...pieces.map((piece) => tableText(name, piece, [], piece)),
    tableText(name, fixed, [], fixed),
  ]
}

function tableText(
  name: string,
  emptied: readonly string[],
  removals: readonly string[],
  deleted: readonly string[],
): string {
  return [
    `*${name}`,
    ...emptied.map((chain) => `:${chain} - [0:0]`),
    ...removals,
    ...deleted.map((chain) => `-X ${chain}`),
    'COMMIT\n',
  ].join('\n')
}

/** Safe to run again. @throws Error when iptables refuses */
export async function cleanUp(iptables: Iptables, options: CleanupOptions = {}): Promise<void> {
  const most = chainsAtOnce[iptables.variant]
  await iptables.update((saved) => cleanupTexts(saved, { ...options, most }))
}
