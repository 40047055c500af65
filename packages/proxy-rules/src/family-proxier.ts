// The rules of one address family: kept as the service graph says.
import { networkInterfaces } from 'node:os'
import { canaryText, wasFlushed } from './apply/canary.ts'
import { canary, cleanUp } from './apply/cleanup.ts'
import { cleanFlows, needsCleaning } from './apply/conntrack.ts'
import type { Iptables } from './apply/iptables-restore.ts'
import { withMissingJumps } from './apply/jumps.ts'
import { inNetns } from './apply/program.ts'
import { changedServices } from './graph/changes.ts'
import { serviceGraph, type ServiceGraph } from './graph/service-graph.ts'
import { compileIptables } from './iptables/compile.ts'
import type { IptablesProgram } from './iptables/program.ts'
import { iptablesText } from './iptables/text.ts'
import type { Logger } from './log.ts'
import type { NodeFacts } from './node/facts.ts'
import type { Snapshot } from './tracker.ts'

/** What stays the same while the proxy runs. */
export interface FamilyContext {
  iptables: Iptables
  facts: Omit<NodeFacts, 'interfaces'>
  netns: string | undefined
  log: Logger
}

export interface FamilyProxier {
  /** Brings the kernel to the snapshot: only changed Services after the first time. */
  sync(snapshot: Snapshot): Promise<void>
  /** What the kernel was brought to last; undefined before the first time. */
  graph(): ServiceGraph | undefined
  /** Whether somebody has removed the rules; the next sync is then a full one. */
  wasFlushed(): Promise<boolean>
  cleanUp(): Promise<void>
}

/** Full syncs at least this often, in milliseconds. */
const fullPeriodMs = 60 * 60 * 1000

export function createFamilyProxier(context: FamilyContext): FamilyProxier {
  const { iptables, log, netns } = context
  let applied: ServiceGraph | undefined
  let latest: ServiceGraph | undefined
  let known: ReadonlySet<string> = new Set()
  let zone = ''
  let fullAt = -Infinity
  let cleaning = false
  let cleanFailed = false

  const clean = async (graph: ServiceGraph): Promise<void> => {
    try {
      const count = await cleanFlows(graph, netns)
      cleaning = false
      cleanFailed = false
      if (count > 0) log.info({ family: graph.family, count }, 'deleted stale UDP connections')
    } catch (error) {
      // Tried again with the next sync; the rules are right already.
      if (!cleanFailed) log.warn({ err: error, family: graph.family }, 'stale UDP connections could not be deleted')
      cleanFailed = true
    }
  }
  return {
    sync: async (snapshot) => {
      const graph = serviceGraph({ ...snapshot, family: iptables.family })
      const full = !applied || snapshot.zone !== zone || Date.now() - fullAt > fullPeriodMs
      const changed = full || !applied ? undefined : changedServices(applied, graph)
      cleaning ||= needsCleaning(applied, graph)
      if (!changed || changed.size > 0) {
        for (const problem of graph.problems) log.warn({ ...problem }, 'part of an object was left out of the rules')
        // What fails half-way leaves the kernel in an unknown state: the next sync is a full one.
        applied = undefined
        known = await load(context, graph, changed, known)
        applied = graph
        latest = graph
        zone = snapshot.zone
        if (!changed) fullAt = Date.now()
        log.debug({ family: graph.family, services: changed?.size ?? 'all' }, 'loaded rules')
      }
      if (cleaning) await clean(graph)
    },
    graph: () => latest,
    wasFlushed: async () => {
      if (!applied || !(await wasFlushed(iptables, canary))) return false
      applied = undefined
      return true
    },
    cleanUp: async () => {
      applied = undefined
      await cleanUp(iptables)
    },
  }
}

/** Returns the chains that the nat table has then. */
async function load(
  { iptables, facts, netns }: FamilyContext,
  graph: ServiceGraph,
  changed: ReadonlySet<string> | undefined,
  known: ReadonlySet<string>,
): Promise<ReadonlySet<string>> {
  const current = { ...facts, interfaces: interfacesIn(netns) }
  if (changed) {
    const program = compileIptables(graph, current, { existing: known, changed })
    await iptables.restore(iptablesText(program))
    return natChainsAfter(known, program)
  }
  let chains = known
  await iptables.update((saved) => {
    const existing = saved.get('nat')?.chains ?? new Set()
    const program = compileIptables(graph, current, { existing })
    chains = natChainsAfter(existing, program)
    return canaryText(canary) + iptablesText(withMissingJumps(program, saved))
  })
  return chains
}

function natChainsAfter(before: ReadonlySet<string>, { tables }: IptablesProgram): ReadonlySet<string> {
  const nat = tables.find(({ table }) => table === 'nat')
  return new Set([...before, ...(nat?.chains ?? [])]).difference(new Set(nat?.deletions))
}

/** Addresses with their prefix, by interface. */
export function interfacesIn(netns: string | undefined): Record<string, string[]> {
  const found = Object.entries(inNetns(netns, networkInterfaces))
  return Object.fromEntries(found.map(([name, list = []]) => [name, list.flatMap(({ cidr }) => cidr ?? [])]))
}
