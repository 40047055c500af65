// The rules of one address family: kept as the service graph says.
import { networkInterfaces } from 'node:os'
import type { RuleBackend } from './apply/backend.ts'
import { cleanFlows, needsCleaning } from './apply/conntrack.ts'
import { inNetns } from './apply/program.ts'
import { changedServices } from './graph/changes.ts'
import { emptyGraph, updateGraphInTurn, type ServiceGraph, type ServiceObjects } from './graph/service-graph.ts'
import type { Logger } from './log.ts'
import type { ProxyMetrics } from './metrics/proxy-metrics.ts'
import { parseAddress } from './net/address.ts'
import type { NodeFacts } from './node/facts.ts'
import { inSlices } from './slices.ts'
import type { Update } from './tracker.ts'

/** What stays the same while the proxy runs. */
export interface FamilyContext {
  backend: RuleBackend
  facts: Omit<NodeFacts, 'interfaces' | 'serviceCIDRs' | 'nfacct'>
  /** Whether rules can count packets, as far as is known. */
  counts(): boolean
  netns: string | undefined
  metrics: Pick<ProxyMetrics, 'synced' | 'programmed' | 'cleaned'>
  log: Logger
}

export interface FamilyProxier {
  /**
   * Brings the kernel to what all updates so far say: only changed Services after the first time. Work that is not in the kernel's
   * hands yet ends with the signal; the update is not lost by that.
   */
  sync(update: Update, signal?: AbortSignal): Promise<void>
  /** What the kernel was brought to last; undefined before the first time. */
  graph(): ServiceGraph | undefined
  /** What rules are compiled with at this moment. */
  facts(): NodeFacts
  /**
   * Whether somebody has removed the rules, the node has changed so that it needs others, or it is time to load all of them again: the
   * next sync is then a full one.
   */
  isAstray(): Promise<'flushed' | 'outdated' | 'due' | undefined>
  cleanUp(): Promise<void>
  close(): Promise<void>
}

/** Full syncs at least this often, in milliseconds, if the backend wants them. */
const fullPeriodMs = 60 * 60 * 1000
/** Of more changes in one load the older ones are not told of. */
const mostTriggers = 10_000

export function createFamilyProxier({ backend, facts, counts, netns, metrics, log }: FamilyContext): FamilyProxier {
  const { family } = backend
  let known = emptyGraph(family, { nodeName: '', zone: '' })
  let applied: ServiceGraph | undefined
  let latest: ServiceGraph | undefined
  /** What is not in the graph yet. */
  let waiting: ReadonlyMap<string, ServiceObjects> = new Map()
  /** Seen since the last load began. */
  let isFlushed = false
  let serviceCIDRs: readonly string[] = []
  /** Whether the rules of the last load count packets. */
  let counted = false
  let fullAt = -Infinity
  /** When endpoints changed that the kernel does not have yet; a failed load leaves them for the next. */
  let triggers: readonly number[] = []
  let cleaning = false
  let cleanFailed = false
  let told: ReadonlySet<string> = new Set()
  let toldOf: ServiceGraph['problems'] = []

  const clean = async (graph: ServiceGraph): Promise<void> => {
    const beganMs = performance.now()
    try {
      const count = await cleanFlows(graph, addressesIn(netns), netns)
      metrics.cleaned(family, (performance.now() - beganMs) / 1000, count)
      cleaning = false
      cleanFailed = false
      if (count > 0) log.info({ family, count }, 'deleted stale UDP connections')
    } catch (error) {
      // Tried again with the next sync; the rules are right already.
      if (!cleanFailed) log.warn({ err: error, family }, 'stale UDP connections could not be deleted')
      cleanFailed = true
    }
  }
  /** Each once, for as long as it stays. */
  const tellProblems = ({ problems }: ServiceGraph): void => {
    if (problems === toldOf) return
    toldOf = problems
    const now = new Map(problems.map((problem) => [JSON.stringify(problem), problem]))
    for (const [text, problem] of now)
      if (!told.has(text)) log.warn({ ...problem }, 'part of an object was left out of the rules')
    told = new Set(now.keys())
  }
  const currentFacts = (): NodeFacts => ({
    ...facts,
    nfacct: counts(),
    interfaces: interfacesIn(netns),
    serviceCIDRs,
  })
  const isDue = (graph: ServiceGraph): boolean => Date.now() - fullAt > fullPeriodMs && backend.isRenewed(graph)
  const load = async (
    graph: ServiceGraph,
    changed: ReadonlySet<string> | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> => {
    const beganMs = performance.now()
    const tell = (succeeded: boolean): void =>
      metrics.synced({ family, full: !changed, seconds: (performance.now() - beganMs) / 1000, succeeded })
    try {
      await backend.load(graph, currentFacts(), changed, signal)
      tell(true)
    } catch (error) {
      if (!signal?.aborted) tell(false)
      throw error
    }
  }
  return {
    sync: async (update, signal) => {
      waiting = new Map([...waiting, ...update.changes])
      const ours = update.triggers.filter(({ addressType }) => addressType === family).map(({ at }) => at)
      triggers = [...triggers, ...ours].slice(-mostTriggers)
      const graph = await inSlices(updateGraphInTurn(known, update, waiting), signal)
      known = graph
      waiting = new Map()
      const full = isFlushed || !applied || update.zone !== applied.zone || isDue(graph)
      const changed = full || !applied ? undefined : changedServices(applied, graph)
      cleaning ||= needsCleaning(applied, graph)
      tellProblems(graph)
      const isOther = counts() !== counted || String(update.serviceCIDRs) !== String(serviceCIDRs)
      if (!changed || changed.size > 0 || isOther) {
        // What fails half-way leaves the kernel in an unknown state: the next sync is a full one.
        applied = undefined
        isFlushed = false
        serviceCIDRs = update.serviceCIDRs
        counted = counts()
        await load(graph, changed, signal)
        if (!changed) fullAt = Date.now()
        log.debug({ family, services: changed?.size ?? 'all' }, 'loaded rules')
      }
      metrics.programmed(family, triggers)
      triggers = []
      applied = graph
      latest = graph
      if (cleaning) await clean(graph)
    },
    graph: () => latest,
    facts: currentFacts,
    isAstray: async () => {
      if (!applied || isFlushed) return undefined
      if (isDue(applied)) return 'due'
      const isOutdated = backend.isOutdated?.(currentFacts()) ?? false
      if (!isOutdated && !(await backend.wasFlushed())) return undefined
      // A load that goes on meanwhile may have put back a part of it.
      isFlushed = true
      return isOutdated ? 'outdated' : 'flushed'
    },
    cleanUp: async () => {
      applied = undefined
      await backend.cleanUp()
    },
    close: async () => backend.close?.(),
  }
}

/** The machine's own addresses, in canonical text. */
function addressesIn(netns: string | undefined): Set<string> {
  const texts = Object.values(interfacesIn(netns)).flat()
  return new Set(texts.flatMap((text) => parseAddress(text.split('/')[0])?.text ?? []))
}

/** Addresses with their prefix, by interface. */
export function interfacesIn(netns: string | undefined): Record<string, string[]> {
  const found = Object.entries(inNetns(netns, networkInterfaces))
  return Object.fromEntries(found.map(([name, list = []]) => [name, list.flatMap(({ cidr }) => cidr ?? [])]))
}
