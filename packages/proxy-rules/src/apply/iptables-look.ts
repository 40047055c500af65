// Whether the kernel has what was loaded in iptables mode, as far as it is cheap to tell: who flushes a table leaves its chains there, and
// who deletes a rule in a chain of all Services takes the place of others from them.
import type { TableName } from '../iptables/load.ts'
import { firewallChain } from '../iptables/localnet.ts'
import { chainCounts } from '../iptables/rule-count.ts'
import type { IptablesRuleset } from '../iptables/ruleset.ts'
import type { Iptables } from './iptables-restore.ts'
import { iptablesJumps, missingJumps } from './jumps.ts'

const tables: readonly TableName[] = ['nat', 'filter']

/**
 * Whether all jumps are there, and of each chain that is not a single Service's at least as many rules as were loaded. What the kernel is
 * too busy to tell counts as there.
 */
export async function isWhole(ruleset: IptablesRuleset, iptables: Iptables): Promise<boolean> {
  for (const table of tables) {
    const targets = [...ruleset.shared[table].chains, firewallChain]
    const counts = chainCounts(ruleset, table)
    const parents = iptablesJumps.filter((jump) => jump.table === table).map(({ parent }) => parent)
    const saved = await iptables.saveChains(table, [...new Set([...parents, ...counts.keys()])])
    if (!saved) continue
    const present = saved.get(table)?.counts
    for (const [chain, count] of counts) if ((present?.get(chain) ?? 0) < count) return false
    if (missingJumps(table, targets, saved, iptablesJumps).length > 0) return false
  }
  return true
}
