// Takes everything of the proxy, and of the kubelet where it is to go too, out of the kernel.
import { firewallChain, isLocalnetRule } from '../iptables/localnet.ts'
import { isServiceChain } from '../iptables/names.ts'
import { deletableInPieces } from '../iptables/load.ts'
import { glueChains } from '../ipvs/glue.ts'
import type { Iptables } from './iptables-restore.ts'
import { chainsAtOnce } from './iptables-variant.ts'
import { iptablesJumps, ipvsJumps, isRuleOf, jumpsInto, type Jump } from './jumps.ts'
import { kubeletCanary, kubeletChains } from './kubelet-program.ts'
import type { SavedTable, SavedTables } from './saved.ts'

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
  const inFirewall = rules.filter(({ chain }) => chain === firewallChain)
  // A kubelet that has the chain has a rule in it: of IPv6 it has none.
  const isUsed = isShared ? inFirewall.length > 0 : !inFirewall.every(isLocalnetRule)
  const goes = (chain: string): boolean => isOurs(chain) || (chain === firewallChain && !isUsed)
  const doomed = new Set([...chains].filter(goes))
  const outside = rules.filter(({ chain }) => !doomed.has(chain))
  const ours = outside.filter((rule) => jumpsInto(rule.text, doomed) || (!isShared && isLocalnetRule(rule)))
  return removalTexts(name, doomed, { rules: ours, most })
}

function removalTexts(
  name: string,
  doomed: ReadonlySet<string>,
  { rules, most }: { rules: SavedTable['rules']; most: number },
): string[] {
  if (doomed.size === 0 && rules.length === 0) return []
  const removals = rules.map(({ chain, text }) => `-D ${chain} ${text}`)
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

/** What the modes iptables and ipvs have in one table, apart from chains of single Services. */
const usedChains: Readonly<Record<IptablesMode, (table: string) => readonly string[]>> = {
  iptables: () => proxyChains.filter((chain) => !ipvsChains.includes(chain)),
  ipvs: (table) => (table === 'nat' || table === 'filter' ? glueChains[table] : []),
}
const modeJumps: Readonly<Record<IptablesMode, readonly Jump[]>> = { iptables: iptablesJumps, ipvs: ipvsJumps }

/** The modes whose rules are in iptables. */
export type IptablesMode = 'iptables' | 'ipvs'

/**
 * The texts that remove what the other one of the two modes has left: chains that this mode does not have, and jumps that it does
 * not make. None when nothing is there. Pure.
 */
export function leftoverTexts(
  saved: SavedTables,
  mode: IptablesMode,
  { most = Infinity }: CleanupLimits = {},
): string[] {
  return [...saved].flatMap(([name, { chains, rules }]) => {
    const used = new Set(usedChains[mode](name))
    const goes = (chain: string): boolean =>
      !used.has(chain) && (proxyChains.includes(chain) || (mode === 'ipvs' && isServiceChain(chain)))
    const doomed = new Set([...chains].filter(goes))
    const isOurs = (chain: string): boolean => proxyChains.includes(chain) || isServiceChain(chain)
    const jumps = rules.filter((rule) => !isOurs(rule.chain) && jumpsInto(rule.text, new Set([...doomed, ...used])))
    const odd = jumps.filter((rule) => !modeJumps[mode].some((jump) => jump.table === name && isRuleOf(rule, jump)))
    return removalTexts(name, doomed, { rules: odd, most })
  })
}

/** Safe to run again. @throws Error when iptables refuses */
export async function removeLeftovers(iptables: Iptables, mode: IptablesMode): Promise<void> {
  const most = chainsAtOnce[iptables.variant]
  await iptables.update((saved) => leftoverTexts(saved, mode, { most }))
}

/** Safe to run again. @throws Error when iptables refuses */
export async function cleanUp(iptables: Iptables, options: CleanupOptions = {}): Promise<void> {
  const most = chainsAtOnce[iptables.variant]
  await iptables.update((saved) => cleanupTexts(saved, { ...options, most }))
}
