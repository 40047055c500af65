// What a kubelet has in the tables (`makeIPTablesUtilChains`). Pure.
import { firewallChain, isLocalnetRule, localnetRule } from '../iptables/localnet.ts'
import type { IptablesProgram } from '../iptables/program.ts'
import type { IPFamily } from '../net/address.ts'
import { iptablesJumps, missingJumps } from './jumps.ts'
import type { SavedTable } from './saved.ts'

export const kubeletCanary = 'KUBE-KUBELET-CANARY'
/** Others look for it to learn which of iptables' two kernel interfaces this machine uses. */
const hint = 'KUBE-IPTABLES-HINT'
export const kubeletChains: readonly string[] = [hint, kubeletCanary]

/** What is not there yet. What others have in the shared chain stays. */
export function kubeletProgram(family: IPFamily, saved: ReadonlyMap<string, SavedTable>): IptablesProgram {
  const filter = saved.get('filter')
  const firewall = {
    table: 'filter',
    chains: filter?.chains.has(firewallChain) ? [] : [firewallChain],
    rules: filter?.rules.some(isLocalnetRule) ? [] : [localnetRule],
    insertions: missingJumps('filter', [firewallChain], saved, iptablesJumps),
    deletions: [],
  } as const
  const hints = { table: 'mangle', chains: [hint], rules: [], deletions: [] } as const
  // The kernel never routes ::1 from outside.
  return { family, tables: family === 'IPv4' ? [hints, firewall] : [hints] }
}
