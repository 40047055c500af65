// Takes away what pods share: for the day the network itself goes.
import { readFileSync } from 'node:fs'
import { inNamespace, openNetlink } from '@nodelet/linux'
import type { Netlink } from '@nodelet/linux'
import { CniError, cniCode } from './errors.ts'
import { nftTable } from './interface/masquerade-rules.ts'
import { chainsIn, createRules, removalOf } from './iptables.ts'
import { createNftables } from './nftables.ts'
import { spoofRemovalOfAll, table as spoofTable } from './plugins/bridge/spoof-check.ts'
import { sharedChains as firewallChains, usualAdminChain } from './plugins/firewall/rules.ts'
import { nftTableOf } from './plugins/portmap/nft-rules.ts'
import { sharedChains as portmapChains } from './plugins/portmap/rules.ts'
import type { RuleChange, Rules } from './types.ts'

export interface RemoveNetworkOptions {
  bridge: string
  /** Path of a network namespace taken as the host's; default: this process's. */
  hostNetns?: string
  signal?: AbortSignal
}

/**
 * Deletes the bridge, every chain of CNI in the tables nat and filter, and what its plugins have in nftables. A chain of the
 * administrator's stays unless it is empty. Fine when there is nothing: no program is started for a table that is not there.
 */
export async function removeNetwork({ bridge, hostNetns, signal = never }: RemoveNetworkOptions): Promise<void> {
  using netlink = openNetlink({ netns: hostNetns })
  for (const family of [4, 6] as const) {
    for (const change of iptablesChanges) {
      if (!(await hasTable(netlink, hostNetns, family, change.table))) continue
      await commit(createRules(family, hostNetns), [change], signal)
    }
  }
  await commit(createNftables(hostNetns), nftablesChanges, signal)
  await netlink.links.delete(bridge)
}

const never = new AbortController().signal
const isOfPod = /^(CNI-[DS]N-\w+|CNI-[a-f0-9]{24})$/

const iptablesChanges: readonly (RuleChange & { table: 'nat' | 'filter' })[] = [
  {
    table: 'nat',
    from: (saved) => removalOf(saved, [...chainsIn(saved).filter((chain) => isOfPod.test(chain)), ...portmapChains]),
  },
  {
    table: 'filter',
    from: (saved) => {
      const isEmpty = !saved.some((line) => line.startsWith(`-A ${usualAdminChain} `))
      return removalOf(saved, [...firewallChains, ...(isEmpty ? [usualAdminChain] : [])])
    },
  },
]

const nftablesChanges: readonly RuleChange[] = [
  ...[nftTable, nftTableOf(4), nftTableOf(6)].map((table): RuleChange => ({
    table,
    from: (saved) => (saved.length > 0 ? [`delete table ${table}`] : []),
  })),
  { table: spoofTable, from: spoofRemovalOfAll },
]

/** Either kind of iptables may have made it: that of nftables, or the older one, which the kernel lists. */
async function hasTable(
  { nftables }: Netlink,
  netns: string | undefined,
  family: 4 | 6,
  table: 'nat' | 'filter',
): Promise<boolean> {
  const kind = family === 4 ? 'ip' : 'ip6'
  const list = (): string => readFileSync(`/proc/thread-self/net/${kind}_tables_names`, 'utf8')
  try {
    const names = netns === undefined ? list() : inNamespace('net', netns, list)
    if (names.split('\n').includes(table)) return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error // a kernel without it
  }
  return nftables.hasTable(kind, table)
}

/** A machine that lacks what rules are made with has none. */
async function commit(rules: Rules, changes: readonly RuleChange[], signal: AbortSignal): Promise<void> {
  try {
    await rules.commit(changes, signal)
  } catch (error) {
    if (!(error instanceof CniError && error.code === cniCode.notAvailable)) throw error
  }
}
