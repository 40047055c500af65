// The rules of one address family: kept as the service graph says.
import { networkInterfaces } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { canary, cleanUp } from './apply/cleanup.ts'
import { cleanFlows, needsCleaning } from './apply/conntrack.ts'
import type { Iptables } from './apply/iptables-restore.ts'
import { withMissingJumps } from './apply/jumps.ts'
import { inNetns } from './apply/program.ts'
import { changedServices } from './graph/changes.ts'
import { serviceGraph, type ServiceGraph } from './graph/service-graph.ts'
import { compileIptables } from './iptables/compile.ts'
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

/** A flush of all tables takes at most this long, in milliseconds. */
const flushMs = 5000
const flushStepMs = 100

export function createFamilyProxier(context: FamilyContext): FamilyProxier {
  const { iptables, log, netns } = context
  let applied: ServiceGraph | undefined
  let latest: ServiceGraph | undefined
  let known = new Set<string>()
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
      if (!applied || (await iptables.hasChain('mangle', canary)) !== false) return false
      await restOfFlush(iptables)
      applied = undefined
      return true
    },
    cleanUp: async () => {
      applied = undefined
      await cleanUp(iptables)
    },
  }
}

/** Who flushes goes from table to table: rules that are loaded in between would be flushed, or in the way. */
async function restOfFlush(iptables: Iptables): Promise<void> {
  const end = Date.now() + flushMs
  for (const table of ['nat', 'filter']) {
    while (Date.now() < end && (await iptables.hasChain(table, canary)) !== false) await sleep(flushStepMs)
  }
}

/** Returns the chains that the nat table has then. */
async function load(
  { iptables, facts, netns }: FamilyContext,
  graph: ServiceGraph,
  changed: ReadonlySet<string> | undefined,
  known: ReadonlySet<string>,
): Promise<Set<string>> {
  const saved = changed ? undefined : await iptables.save()
  const existing = saved ? (saved.get('nat')?.chains ?? new Set<string>()) : known
  const current = { ...facts, interfaces: interfacesIn(netns) }
  const compiled = compileIptables(graph, current, { existing, ...(changed ? { changed } : {}) })
  const text = saved ? canaryText + iptablesText(withMissingJumps(compiled, saved)) : iptablesText(compiled)
  await iptables.restore(text)
  const nat = compiled.tables.find(({ table }) => table === 'nat')
  return new Set([...existing, ...(nat?.chains ?? [])]).difference(new Set(nat?.deletions))
}

const canaryText = ['mangle', 'nat', 'filter'].map((table) => `*${table}\n:${canary} - [0:0]\nCOMMIT\n`).join('')

/** Addresses with their prefix, by interface. */
export function interfacesIn(netns: string | undefined): Record<string, string[]> {
  const found = Object.entries(inNetns(netns, networkInterfaces))
  return Object.fromEntries(found.map(([name, list = []]) => [name, list.flatMap(({ cidr }) => cidr ?? [])]))
}
