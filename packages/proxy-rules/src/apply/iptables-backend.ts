// Keeps the rules in iptables: what is committed is known from memory, and a load carries what changed.
import type { ServiceGraph } from '../graph/service-graph.ts'
import { changeLoadInTurn } from '../iptables/change-text.ts'
import { loadTextsInTurn, type TableLoad } from '../iptables/load.ts'
import { firewallChain } from '../iptables/localnet.ts'
import { rulesetInTurn, type IptablesRuleset } from '../iptables/ruleset.ts'
import { ruleCount, type TableCount } from '../iptables/rule-count.ts'
import { hasComments } from '../iptables/style.ts'
import { completeLoadInTurn, wholeLoadInTurn } from '../iptables/whole-load.ts'
import type { NodeFacts } from '../node/facts.ts'
import { inSlices } from '../slices.ts'
import type { RuleBackend } from './backend.ts'
import { canaryText, wasFlushed } from './canary.ts'
import { canary, cleanUp } from './cleanup.ts'
import { isWhole } from './iptables-look.ts'
import type { Iptables } from './iptables-restore.ts'
import { chainsAtOnce } from './iptables-variant.ts'
import { ensurePacketCounters, removePacketCounters, tryPacketCounters } from './packet-counters.ts'
import { iptablesJumps, missingJumps } from './jumps.ts'
import type { SavedTables } from './saved.ts'

export interface IptablesBackendOptions {
  /** The network namespace of `iptables`; default: the own. */
  netns?: string | undefined
  /** Chains of service ports in one text; default: as many as the variant bears. */
  most?: number
  /** Told how many rules there are after each load. */
  counted?(this: void, counts: readonly TableCount[]): void
}

export function createIptablesBackend(
  iptables: Iptables,
  { netns, most = chainsAtOnce[iptables.variant], counted = () => {} }: IptablesBackendOptions = {},
): RuleBackend {
  /** What the kernel has; undefined when that is not known. */
  let committed: IptablesRuleset | undefined

  const loadAll = async (graph: ServiceGraph, facts: NodeFacts, signal: AbortSignal | undefined): Promise<void> => {
    committed = undefined
    if (facts.nfacct) await ensurePacketCounters(netns)
    const whole = await inSlices(wholeLoadInTurn(graph, facts, most), signal)
    await iptables.update(async (saved) => {
      const natChains = saved.get('nat')?.chains ?? []
      const filter = withFirewallChain(whole.filter, saved)
      const insertions = {
        filter: missingJumps('filter', [...filter.chains, firewallChain], saved, iptablesJumps),
        nat: missingJumps('nat', whole.nat.chains, saved, iptablesJumps),
      }
      const load = await inSlices(completeLoadInTurn({ ...whole, filter }, { natChains, insertions }), signal)
      const [first = [], ...others] = await inSlices(loadTextsInTurn(load, most), signal)
      return [[canaryText(canary), ...first], ...others]
    })
    committed = whole.ruleset
    counted(ruleCount(whole.ruleset, whole))
  }
  const loadChanges = async (
    previous: IptablesRuleset,
    graph: ServiceGraph,
    facts: NodeFacts,
    signal: AbortSignal | undefined,
  ): Promise<void> => {
    committed = undefined
    const next = await inSlices(rulesetInTurn(graph, facts, { previous }), signal)
    const load = await inSlices(changeLoadInTurn(previous, next, most), signal)
    for (const text of await inSlices(loadTextsInTurn(load, most), signal)) await iptables.restore(text)
    committed = next
    counted(ruleCount(next, load))
  }
  return {
    family: iptables.family,
    iptables: iptables.variant,
    load: async (graph, facts, changed, signal) => {
      if (changed && committed) await loadChanges(committed, graph, facts, signal)
      else await loadAll(graph, facts, signal)
    },
    prepareCounters: async () => tryPacketCounters(iptables, netns),
    // As large as a cluster is for which rules have no comments.
    isRenewed: hasComments,
    wasFlushed: async () => {
      if (await wasFlushed(iptables, canary)) return true
      const known = committed
      // What is loaded meanwhile has other rules.
      return known !== undefined && !(await isWhole(known, iptables)) && known === committed
    },
    cleanUp: async () => {
      committed = undefined
      await cleanUp(iptables)
      await removePacketCounters(netns)
    },
  }
}

/** The jumps to the chain that is shared with a kubelet are always there, and so is the chain; what is in it stays. */
function withFirewallChain(filter: TableLoad, saved: SavedTables): TableLoad {
  if (filter.chains.includes(firewallChain) || saved.get('filter')?.chains.has(firewallChain)) return filter
  return { ...filter, chains: [...filter.chains, firewallChain] }
}
