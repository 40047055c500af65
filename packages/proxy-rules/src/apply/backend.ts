// What keeps the rules of one family: each mode of the proxy has one.
import type { ServiceGraph } from '../graph/service-graph.ts'
import type { IPFamily } from '../net/address.ts'
import type { NodeFacts } from '../node/facts.ts'
import type { IptablesVariant } from './iptables-variant.ts'

export interface RuleBackend {
  family: IPFamily
  /** Which iptables it writes to; undefined in nftables mode. */
  iptables?: IptablesVariant
  /**
   * Brings the kernel to the graph. With `changed`, `namespace/name` of the Services that differ from the graph before, only these
   * are written. After a failure the kernel's state is unknown: the next load has to be a whole one. What is not handed to the
   * kernel yet ends with the signal.
   * @throws Error when the kernel refuses; the signal's reason when aborted
   */
  load(
    graph: ServiceGraph,
    facts: NodeFacts,
    changed: ReadonlySet<string> | undefined,
    signal?: AbortSignal,
  ): Promise<void>
  /** Makes ready what rules count packets with; absent in modes whose rules count none. @throws LockedIptables when that cannot be told now; Error why they cannot here */
  prepareCounters?(): Promise<void>
  /** Whether all rules are to be loaded again each hour, though nothing speaks for it. */
  isRenewed(graph: ServiceGraph): boolean
  /** Whether somebody has removed the rules, or has changed them where that is looked for. */
  wasFlushed(): Promise<boolean>
  /** Whether the node has changed so that other rules are right for it; default: it is for others to tell. */
  isOutdated?(facts: NodeFacts): boolean
  /** Removes all rules. Safe to run again. */
  cleanUp(): Promise<void>
  /** What it holds open of the kernel is let go; the rules stay. */
  close?(): Promise<void>
}
