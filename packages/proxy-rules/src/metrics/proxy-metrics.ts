// The proxy's metrics, by the names, labels and buckets that dashboards of kube-proxy know.
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { ServiceGraph } from '../graph/service-graph.ts'
import type { PacketCounter } from '../iptables/packet-counters.ts'
import type { TableCount } from '../iptables/rule-count.ts'
import type { ProxyMode } from '../mode.ts'
import type { IPFamily } from '../net/address.ts'

/** A load of rules. */
export interface Sync {
  family: IPFamily
  /** All rules rather than those of changed Services. */
  full: boolean
  seconds: number
  succeeded: boolean
}

export interface ProxyMetrics {
  registry: Registry
  /** What `/metrics/slis` shows. */
  slis: Registry
  /** The process was asked for a sign of life, and gave it. */
  pinged(): void
  /** Rules of iptables were loaded. */
  counted(family: IPFamily, counts: readonly TableCount[]): void
  /** Rules count packets from now on. @param read how many so far; undefined when that cannot be told at the moment */
  countPackets(read: (counter: PacketCounter) => Promise<number | undefined>): void
  /** nft refused to delete what is not used any more. */
  cleanupFailed(family: IPFamily): void
  /** A Service or its endpoints changed. */
  changed(kind: 'service' | 'endpoint', key: string): void
  /** What has changed is being brought to the kernel. */
  taken(): void
  queued(family: IPFamily): void
  synced(sync: Sync): void
  /**
   * The kernel has all that was asked for, be it that nothing had to be loaded.
   * @param triggers when endpoints changed that are in the kernel now, in milliseconds since the epoch
   */
  programmed(family: IPFamily, triggers: Iterable<number>): void
  cleaned(family: IPFamily, seconds: number, deleted: number): void
  answered(path: 'healthz' | 'livez', code: number): void
}

const step = (from: number, to: number, by: number): number[] =>
  Array.from({ length: (to - from) / by + 1 }, (_, at) => from + at * by)

const syncBuckets = Array.from({ length: 15 }, (_, power) => 0.001 * 2 ** power)
const programmingBuckets = [0.25, 0.5, ...step(1, 59, 1), ...step(60, 115, 5), ...step(120, 300, 30)]
const perFamily = ['ip_family'] as const

/** A set of its own: several proxies may live in one process. */
export function createProxyMetrics(mode: ProxyMode, graphs: () => Iterable<ServiceGraph>): ProxyMetrics {
  const registry = new Registry()
  const registers = [registry]
  const seconds = (name: string, help: string, buckets = syncBuckets): Histogram<'ip_family'> =>
    new Histogram({ name: `kubeproxy_${name}`, help, labelNames: perFamily, buckets, registers })
  const gauge = <Label extends string = never>(name: string, help: string, labelNames: Label[] = []): Gauge<Label> =>
    new Gauge({ name: `kubeproxy_${name}`, help, labelNames, registers })
  const counter = <Label extends string = never>(
    name: string,
    help: string,
    labelNames: Label[] = [],
  ): Counter<Label> => new Counter({ name: `kubeproxy_${name}`, help, labelNames, registers })

  const changes = {
    service: changeMetrics('service', gauge, counter),
    endpoint: changeMetrics('endpoint', gauge, counter),
  }
  const all = seconds('sync_proxy_rules_duration_seconds', 'How long loads of rules take')
  // As in the Go proxy, whose mode ipvs has no partial loads.
  const parts = mode !== 'ipvs' && {
    full: seconds('sync_full_proxy_rules_duration_seconds', 'How long loads of all rules take'),
    partial: seconds('sync_partial_proxy_rules_duration_seconds', 'How long loads of the rules that changed take'),
  }
  const last = gauge('sync_proxy_rules_last_timestamp_seconds', 'When the kernel was brought up to date last', [
    ...perFamily,
  ])
  const lastQueued = gauge('sync_proxy_rules_last_queued_timestamp_seconds', 'When a load was asked for last', [
    ...perFamily,
  ])
  const programming = seconds(
    'network_programming_duration_seconds',
    'From a change of endpoints until the kernel has it',
    programmingBuckets,
  )
  const cleanSeconds = seconds('conntrack_reconciler_sync_duration_seconds', 'How long it takes to forget stale flows')
  const cleaned = counter('conntrack_reconciler_deleted_entries_total', 'Stale flows that were forgotten', [
    ...perFamily,
  ])
  const answers = {
    healthz: counter('proxy_healthz_total', 'Answers of /healthz by their code', ['code']),
    livez: counter('proxy_livez_total', 'Answers of /livez by their code', ['code']),
  }
  // Counted when asked for: a sync of one Service does not look at the others.
  new Gauge({
    name: 'kubeproxy_sync_proxy_rules_no_local_endpoints_total',
    help: 'Service ports with a traffic policy of Local that have endpoints, none of them on this node',
    labelNames: ['traffic_policy', ...perFamily],
    registers,
    collect() {
      for (const graph of graphs()) {
        const lonely = graph.nodes.filter(({ choice }) => choice.hasAny && choice.local.length === 0)
        const count = (policy: 'internalPolicyLocal' | 'externalPolicyLocal'): number =>
          lonely.filter(({ port }) => port[policy]).length
        this.set({ traffic_policy: 'internal', ip_family: graph.family }, count('internalPolicyLocal'))
        this.set({ traffic_policy: 'external', ip_family: graph.family }, count('externalPolicyLocal'))
      }
    },
  })
  const modeMetrics = metricsOfMode(mode, gauge, counter)
  const { slis, pinged } = sliMetrics()
  return {
    registry,
    slis,
    pinged,
    counted: modeMetrics.counted,
    countPackets: (read) => addPacketCounts(registers, read),
    cleanupFailed: modeMetrics.cleanupFailed,
    changed: (kind, key) => changes[kind].changed(key),
    taken: () => Object.values(changes).forEach((one) => one.taken()),
    queued: (family) => lastQueued.set({ ip_family: family }, Date.now() / 1000),
    synced: ({ family, full: isFull, seconds: took, succeeded }) => {
      const labels = { ip_family: family }
      all.observe(labels, took)
      if (parts) parts[isFull ? 'full' : 'partial'].observe(labels, took)
      if (!succeeded) modeMetrics.failed(family, isFull)
    },
    programmed: (family, triggers) => {
      last.set({ ip_family: family }, Date.now() / 1000)
      for (const trigger of triggers) {
        programming.observe({ ip_family: family }, Math.max(0, (Date.now() - trigger) / 1000))
      }
    },
    cleaned: (family, took, deleted) => {
      cleanSeconds.observe({ ip_family: family }, took)
      cleaned.inc({ ip_family: family }, deleted)
    },
    answered: (path, code) => answers[path].inc({ code: String(code) }),
  }
}

type MakeGauge = <Label extends string = never>(name: string, help: string, labels?: Label[]) => Gauge<Label>
type MakeCounter = <Label extends string = never>(name: string, help: string, labels?: Label[]) => Counter<Label>

function changeMetrics(kind: 'service' | 'endpoint', gauge: MakeGauge, counter: MakeCounter) {
  const total = counter(`sync_proxy_rules_${kind}_changes_total`, `Changes of ${kind}s`)
  const pending = gauge(`sync_proxy_rules_${kind}_changes_pending`, `${kind}s whose changes wait to be loaded`)
  const keys = new Set<string>()
  return {
    changed: (key: string): void => {
      total.inc()
      pending.set(keys.add(key).size)
    },
    taken: (): void => {
      keys.clear()
      pending.set(0)
    },
  }
}

/** What only some modes have. */
interface ModeMetrics extends Pick<ProxyMetrics, 'counted' | 'cleanupFailed'> {
  /** A load was refused. */
  failed(family: IPFamily, isFull: boolean): void
}

function metricsOfMode(mode: ProxyMode, gauge: MakeGauge, counter: MakeCounter): ModeMetrics {
  const labels: 'ip_family'[] = [...perFamily]
  const none = (): void => {}
  if (mode === 'nftables') {
    const failed = counter('sync_proxy_rules_nftables_sync_failures_total', 'Transactions that nft refused', labels)
    const name = 'sync_proxy_rules_nftables_cleanup_failures_total'
    const undeleted = counter(name, 'Deletions of unused chains that nft refused', labels)
    return {
      failed: (family) => failed.inc({ ip_family: family }),
      cleanupFailed: (family) => undeleted.inc({ ip_family: family }),
      counted: none,
    }
  }
  const failed = counter('sync_proxy_rules_iptables_restore_failures_total', 'Loads that were refused', labels)
  if (mode === 'ipvs')
    return { failed: (family) => failed.inc({ ip_family: family }), cleanupFailed: none, counted: none }
  const name = 'sync_proxy_rules_iptables_partial_restore_failures_total'
  const failedPartly = counter(name, 'Loads of the rules that changed that were refused', labels)
  const ofTable: ('table' | 'ip_family')[] = ['table', ...perFamily]
  const total = gauge('sync_proxy_rules_iptables_total', 'Rules of the proxy', ofTable)
  const last = gauge('sync_proxy_rules_iptables_last', 'Rules that the last load wrote', ofTable)
  return {
    failed: (family, isFull) => {
      failed.inc({ ip_family: family })
      if (!isFull) failedPartly.inc({ ip_family: family })
    },
    cleanupFailed: none,
    counted: (family, counts) => {
      for (const { table, total: all, written } of counts) {
        total.set({ table, ip_family: family }, all)
        last.set({ table, ip_family: family }, written)
      }
    },
  }
}

const packetCounts: Record<PacketCounter, { name: string; help: string }> = {
  invalidDropped: {
    name: 'kubeproxy_iptables_ct_state_invalid_dropped_packets_total',
    help: 'Forwarded packets of no known connection that were dropped',
  },
  localhostAccepted: {
    name: 'kubeproxy_iptables_localhost_nodeports_accepted_packets_total',
    help: 'Connections to node ports on addresses of 127.0.0.0/8 that were accepted',
  },
}

/** The kernel counts; it is asked when the metrics are. */
function addPacketCounts(registers: Registry[], read: Parameters<ProxyMetrics['countPackets']>[0]): void {
  for (const [counter, texts] of Object.entries(packetCounts))
    new Counter({
      ...texts,
      registers,
      async collect() {
        // One that cannot be read now is told as it was: the other metrics do not fail for it.
        const packets = await read(counter as PacketCounter).catch(() => undefined)
        if (packets === undefined) return
        this.reset()
        this.inc(packets)
      },
    })
}

/** The one check is whether the process answers. */
function sliMetrics(): Pick<ProxyMetrics, 'slis' | 'pinged'> {
  const slis = new Registry()
  const registers = [slis]
  const labels = { name: 'ping', type: 'healthz' }
  const now = new Gauge({
    name: 'kubernetes_healthcheck',
    help: 'Whether a check of health is passed: 1, or 0',
    labelNames: ['name', 'type'],
    registers,
  })
  const results = new Counter({
    name: 'kubernetes_healthchecks_total',
    help: 'Checks of health by what they came to',
    labelNames: ['name', 'type', 'status'],
    registers,
  })
  return {
    slis,
    pinged: () => {
      now.set(labels, 1)
      results.inc({ ...labels, status: 'success' })
    },
  }
}
