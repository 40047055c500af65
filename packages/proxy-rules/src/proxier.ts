// The service proxy: follows the API server and keeps the kernel's rules as it says.
import { existsSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import type { KubeClient } from '@nodelet/kube-client'
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import type { RuleBackend } from './apply/backend.ts'
import { setConntrack, usualConntrack, type ConntrackSettings } from './apply/conntrack-settings.ts'
import { createIptablesBackend } from './apply/iptables-backend.ts'
import { createToolFinder, openIptables, type FindTools } from './apply/iptables-tools.ts'
import { iptablesVariants, type IptablesVariant } from './apply/iptables-variant.ts'
import { openNft } from './apply/nft.ts'
import { createNftablesBackend } from './apply/nftables-backend.ts'
import { createIpvsBackend } from './apply/ipvs-backend.ts'
import { prepareIpvs, type IpvsKernelSettings } from './apply/ipvs-kernel.ts'
import { countedPackets } from './apply/packet-counters.ts'
import { removeOtherModes, type Kept } from './apply/other-mode.ts'
import { inNetns } from './apply/program.ts'
import { readSysctl, writeSysctl } from './apply/sysctls.ts'
import { createRecorder } from './events.ts'
import { createFamilyProxier, interfacesIn } from './family-proxier.ts'
import type { FamilyProxier } from './family-proxier.ts'
import type { ZPages } from './health/metrics-endpoints.ts'
import { isInTime, type FamilyWork } from './health/proxy-health.ts'
import { planServers } from './health/servers.ts'
import { createHealthServers } from './health/service-health.ts'
import { shown } from './graph/problem.ts'
import { excludedRanges, schedulerOf, type IpvsSettings } from './ipvs/style.ts'
import { silentLogger, type Logger } from './log.ts'
import { createProxyMetrics, type ProxyMetrics } from './metrics/proxy-metrics.ts'
import type { ProxyMode } from './mode.ts'
import { isLoopback, parseAddress, type IPFamily } from './net/address.ts'
import type { NftablesLayout } from './nftables/style.ts'
import { checkFacts } from './node/check-facts.ts'
import type { LocalTraffic, NodeFacts } from './node/facts.ts'
import { localSource } from './node/local-traffic.ts'
import { masqueradeMark } from './node/masquerade-mark.ts'
import { nodePortAddresses } from './node/node-port-addresses.ts'
import { createRunner, type Runner } from './runner.ts'
import { inSlices } from './slices.ts'
import { answerInquiry, type Inquiry, type InquiryAnswer } from './trace/inquiry.ts'
import { startTracker } from './tracker.ts'

/** What there is in IPVS mode alone. */
export interface IpvsProxierOptions extends IpvsSettings, IpvsKernelSettings {
  /** Milliseconds between looks whether a real server that is gone has lost its last connection; default 1 minute. */
  terminationPeriodMs?: number | undefined
}

export interface ProxierOptions {
  /** Without `create` and `patch` it writes no events. */
  client: Pick<KubeClient, 'list' | 'watch'> & Partial<Pick<KubeClient, 'create' | 'patch'>>
  nodeName: string
  /** The node's own addresses; the first one decides which family must work. */
  nodeIPs: readonly string[]
  localTraffic: LocalTraffic
  /** Default `iptables`. What other modes left is removed once the rules are loaded. */
  mode?: ProxyMode
  /**
   * Which iptables has the rules, in iptables and IPVS mode. Default: that with a kubelet's chains, else that with more rules of others,
   * else what the machine's `iptables` is.
   */
  iptablesVariant?: IptablesVariant
  ipvs?: IpvsProxierOptions
  /** How nftables rules are written; default `fast`; `compat` is as the Go proxy writes them. */
  nftablesLayout?: NftablesLayout
  /** A pinned network namespace that stands for the host; default: the own. */
  netns?: string
  /** Milliseconds of rest after each sync; default 1000, in IPVS mode 0. The first sync runs at once. */
  minSyncPeriodMs?: number
  /** Milliseconds between looks whether somebody has flushed the rules, or changed what IPVS has, and the longest pause after failures; default 30 s. */
  syncPeriodMs?: number
  /** Where node ports answer: CIDRs, or the single word `primary`; default: everywhere, and `primary` in nftables mode. */
  nodePortAddresses?: readonly string[]
  /** Default false. */
  masqueradeAll?: boolean
  /** Default 14. */
  masqueradeBit?: number
  /** Default true; nftables mode never has them. */
  localhostNodePorts?: boolean
  /** Whether `externalIPs` of Services are served; default true. */
  allowServiceExternalIPs?: boolean
  /** Where `/healthz`, `/livez` and `/readyz` answer, for instance `0.0.0.0:10256`; default: nowhere. */
  healthzBindAddress?: string
  /** Where `/metrics`, `/healthz`, `/proxyMode` and more answer, for instance `127.0.0.1:10249`; default: nowhere. */
  metricsBindAddress?: string
  /** A server that cannot listen is the end of the proxy: `failed` is told. Default false: it is tried again each 5 s. */
  bindAddressHardFail?: boolean
  /** Connections that the kernel tracks; default as kube-proxy's. What the kernel refuses stays as it is. */
  conntrack?: ConntrackSettings
  /** What `/configz` shows; default: there is no such page. */
  configuration?: object
  /** Whether there are `/flagz`, of the configuration, and `/statusz`; default: neither. */
  pages?: ZPages
  /** Answer `/debug/pprof/` and `/debug/flags/v` where `/metrics` is; default false. */
  enableProfiling?: boolean
  /** Answers `/debug/pprof/…`; without it these answer 501. */
  profiles?: RequestListener
  /** Makes the log tell as much as `PUT /debug/flags/v` says; without it that answers 501. */
  setVerbosity?: (verbosity: number) => void
  /**
   * Told when the proxy has to be started anew: a server cannot listen and `bindAddressHardFail` is set, or the ranges of
   * the Node's pods are not those of `localTraffic` any more in mode `NodeCIDR`. Default: the log says so.
   */
  failed?: (error: Error) => void
  log?: Logger
}

/** A proxy at work. Its rules stay when it is closed. */
export interface Proxier {
  /** Once the rules are what the API server says at this moment; rejected when closed before. */
  synced(): Promise<void>
  /**
   * What becomes of a packet by the rules that the kernel has.
   * @throws RangeError naming what of the inquiry cannot be understood, or is not there
   */
  trace(inquiry: Inquiry): InquiryAnswer
  close(): Promise<void>
  /** Closes, and removes every chain and rule of ours. */
  cleanup(): Promise<void>
}

const firstRetryMs = 1000

/**
 * Starts the proxy, for IPv4 and, where the machine has it, IPv6. Needs root and the program `iptables` (with `-save` and
 * `-restore`, 1.6.2 or later), or in nftables mode `nft` (1.0.1 or later, Linux 5.13 or later); in IPVS mode also a kernel with IPVS,
 * dummy devices and IP sets.
 *
 * @throws Error when that does not work for the family of the first node address; RangeError for malformed options
 */
export async function startProxier(options: ProxierOptions): Promise<Proxier> {
  const { client, nodeName, netns, syncPeriodMs = 30_000, allowServiceExternalIPs = true, log = silentLogger } = options
  const mode = modeOf(options)
  const { minSyncPeriodMs = mode === 'ipvs' ? 0 : 1000 } = options
  const base = factsOf(options, mode)
  checkAll({ ...base, interfaces: {}, conntrackLiberal: false })
  const openServers = planServers(options)
  const failed = options.failed ?? ((error) => log.error({ err: error }, 'the proxy has to be started anew'))
  const metrics = createProxyMetrics(mode, () => proxiers.flatMap((one) => one.graph() ?? []))
  const find = createToolFinder(netns)
  const backends = await openFamilies(options, { mode, metrics, find, log })
  tellOfPods(base.localTraffic, backends[0]?.family ?? 'IPv4', log)
  if (mode === 'nftables') tellOfLoopback(base, log)
  const nfacct = await canCount(backends, log)
  if (nfacct) metrics.countPackets(async (counter) => countedPackets(counter, netns))
  const facts = { ...base, nfacct, conntrackLiberal: prepareKernel(options) }
  const { create, patch } = client
  const events = createRecorder({ client: create && patch && { create, patch }, nodeName, log })
  const proxiers = backends.map((backend) => createFamilyProxier({ backend, facts, netns, metrics, log }))
  const unloaded = new Set(proxiers)
  /** After the first load of each family: until then what another mode left may serve. */
  const loaded = async (proxier: FamilyProxier): Promise<void> => {
    if (unloaded.delete(proxier) && unloaded.size === 0)
      await removeOtherModes(keptBy(mode, backends), log, { netns, find })
  }
  const runners = proxiers.map((proxier, index) =>
    createRunner({
      work: async (signal) => {
        const feed = feeds[index]
        const update = feed && (await inSlices(feed.takeInTurn(), signal))
        metrics.taken()
        if (update) {
          await proxier.sync({ ...update, withoutExternalIPs: !allowServiceExternalIPs }, signal)
          await loaded(proxier)
        }
        health.update(proxiers.flatMap((one) => one.graph() ?? []))
      },
      pauseMs: minSyncPeriodMs,
      retryMs: firstRetryMs,
      longestRetryMs: syncPeriodMs,
      onFailure: (error) => {
        log.error({ err: error, family: backends[index]?.family }, 'the rules could not be loaded: it is tried again')
      },
    }),
  )
  const startedAt = Date.now()
  const timeoutMs = 2 * syncPeriodMs
  const work = (): FamilyWork[] =>
    runners.map((runner, index) => ({
      family: backends[index]?.family ?? 'IPv4',
      lastUpdated: runner.succeededAt() ?? startedAt,
      waitingSince: runner.waitingSince(),
    }))
  const health = createHealthServers({
    nodeName,
    netns,
    isHealthy: () => work().every((one) => isInTime(one, Date.now(), timeoutMs)),
    answersOn: nodePortFilter(facts, netns),
    events,
    log,
  })
  const requestAll = (): void => {
    for (const { family } of backends) metrics.queued(family)
    for (const runner of runners) runner.request()
  }
  const tracker = startTracker({
    client,
    nodeName,
    followServiceCIDRs: mode === 'nftables',
    log,
    changed: (kind, key) => metrics.changed(kind, key),
    nodeChanged: podRangeGuard(options.localTraffic, failed),
    onChange: requestAll,
  })
  const feeds = backends.map(() => tracker.openFeed())
  const servers = openServers(
    {
      mode,
      work,
      isLoaded: () => unloaded.size === 0,
      nodeEligible: () => tracker.nodeEligible(),
      timeoutMs,
      metrics,
      configuration: options.configuration,
      pages: options.pages ?? {},
      enableProfiling: options.enableProfiling ?? false,
      profiles: options.profiles,
      setVerbosity: options.setVerbosity,
    },
    { netns, events, hardFail: options.bindAddressHardFail ? failed : undefined, log },
  )
  events.onNode({ type: 'Normal', reason: 'Starting', action: 'StartKubeProxy', note: '' })
  if (mode === 'ipvs') {
    const note = 'the mode ipvs is deprecated in Kubernetes, which advises nftables'
    log.warn({}, note)
    events.onNode({ type: 'Warning', reason: 'IPVSDeprecation', action: 'StartKubeProxy', note })
  }
  let looking: Promise<void> | undefined
  const look = (): void => {
    looking ??= lookForFlush(proxiers, runners, log).finally(() => (looking = undefined))
  }
  const watch = setInterval(look, syncPeriodMs)
  watch.unref()
  const close = async (): Promise<void> => {
    clearInterval(watch)
    await looking
    await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()))
    await tracker[Symbol.asyncDispose]()
    await Promise.all(runners.map((runner) => runner.close()))
    await health.close()
    await events.close()
  }
  const closeFamilies = async (): Promise<void> => void (await Promise.all(proxiers.map((one) => one.close())))
  return {
    synced: async () => {
      await tracker.synced
      await Promise.all(runners.map((runner) => runner.settled()))
    },
    trace: (inquiry) => {
      const current = proxiers[0]?.facts() ?? { ...facts, interfaces: interfacesIn(netns) }
      const graphs = proxiers.flatMap((one) => one.graph() ?? [])
      return answerInquiry(inquiry, {
        mode,
        layout: options.nftablesLayout ?? 'fast',
        ipvs: options.ipvs ?? {},
        graphs,
        facts: current,
      })
    },
    close: async () => {
      await close()
      await closeFamilies()
    },
    cleanup: async () => {
      await close()
      await Promise.all(proxiers.map((proxier) => proxier.cleanUp()))
      await removeOtherModes(keptBy(mode, backends), log, { netns, find })
      await closeFamilies()
    },
  }
}

const modes: readonly unknown[] = ['iptables', 'ipvs', 'nftables'] satisfies ProxyMode[]

function modeOf({ mode = 'iptables' }: Pick<ProxierOptions, 'mode'>): ProxyMode {
  if (modes.includes(mode)) return mode
  throw new RangeError(`mode: ${JSON.stringify(mode)} is none; use iptables, ipvs or nftables`)
}

function variantOf({ iptablesVariant: variant }: ProxierOptions): IptablesVariant | undefined {
  if (variant === undefined || iptablesVariants.includes(variant)) return variant
  throw new RangeError(`iptablesVariant: ${JSON.stringify(variant)} is none; use nft or legacy`)
}

function keptBy(mode: ProxyMode, backends: readonly RuleBackend[]): Kept {
  return {
    mode,
    iptables: Object.fromEntries(backends.map(({ family, iptables }) => [family, iptables])),
  }
}

interface BackendContext {
  mode: ProxyMode
  metrics: ProxyMetrics
  find: FindTools
  log: Logger
}

async function openFamilies(options: ProxierOptions, context: BackendContext): Promise<RuleBackend[]> {
  const { nodeIPs, netns } = options
  const primary = parseAddress(nodeIPs[0])?.family
  if (!primary) throw new RangeError(`nodeIPs: ${JSON.stringify(nodeIPs)} does not begin with an IP address`)
  const other: IPFamily = primary === 'IPv4' ? 'IPv6' : 'IPv4'
  const first = await openBackend(primary, options, context)
  if (other === 'IPv6' && !hasIPv6(netns)) return [first]
  try {
    return [first, await openBackend(other, options, context)]
  } catch (error) {
    context.log.info({ err: error }, `there are no rules for ${other}`)
    return [first]
  }
}

async function openBackend(
  family: IPFamily,
  options: ProxierOptions,
  { mode, metrics, find, log }: BackendContext,
): Promise<RuleBackend> {
  const { netns, nftablesLayout: layout = 'fast', ipvs = {} } = options
  if (mode === 'iptables') {
    const iptables = await openIptables(family, { netns, variant: variantOf(options), find, log })
    return createIptablesBackend(iptables, { netns, counted: (counts) => metrics.counted(family, counts) })
  }
  if (mode === 'ipvs') {
    excludedRanges(ipvs, family)
    await prepareIpvs(schedulerOf(ipvs.scheduler), ipvs, log, netns)
    const { terminationPeriodMs } = ipvs
    const iptables = await openIptables(family, { netns, variant: variantOf(options), find, log })
    return createIpvsBackend({ iptables, settings: ipvs, netns, log, terminationPeriodMs })
  }
  const cleanupFailed = (): void => metrics.cleanupFailed(family)
  return createNftablesBackend({ nft: await openNft(family, netns), layout, cleanupFailed, log })
}

/** Whether rules can count packets: in each family, or in none. */
async function canCount(backends: readonly RuleBackend[], log: Logger): Promise<boolean> {
  const preparations = backends.flatMap(({ prepareCounters }) => prepareCounters ?? [])
  try {
    await Promise.all(preparations.map(async (prepare) => prepare()))
    return preparations.length > 0
  } catch (error) {
    log.warn({ err: error }, 'rules cannot count packets here: the two metrics of nfacct are missing')
    return false
  }
}

function hasIPv6(netns: string | undefined): boolean {
  const present = inNetns(netns, () => existsSync('/proc/net/if_inet6'))
  return present && readSysctl('net/ipv6/conf/all/disable_ipv6', netns) === '0'
}

function factsOf(
  options: Omit<ProxierOptions, 'client'>,
  mode: ProxyMode,
): Omit<NodeFacts, 'interfaces' | 'conntrackLiberal'> {
  if (typeof options.nodeName !== 'string' || options.nodeName === '')
    throw new RangeError(`nodeName: ${shown(options.nodeName)} is no name`)
  if (!Array.isArray(options.nodeIPs)) throw new RangeError(`nodeIPs: ${shown(options.nodeIPs)} is no list`)
  const addresses = options.nodeIPs.map((text) => {
    const address = parseAddress(text)
    if (!address) throw new RangeError(`nodeIPs: ${shown(text)} is no IP address`)
    return address
  })
  const nodeIPs = Object.fromEntries(addresses.toReversed().map(({ family, text }) => [family, text]))
  const { nodePortAddresses: selection = [] } = options
  return {
    nodeIPs,
    nodePortAddresses: mode === 'nftables' && selection.length === 0 ? ['primary'] : selection,
    masqueradeAll: options.masqueradeAll ?? false,
    masqueradeBit: options.masqueradeBit ?? 14,
    localhostNodePorts: mode === 'iptables' && (options.localhostNodePorts ?? true),
    localTraffic: options.localTraffic,
    randomFully: true,
    nfacct: false,
  }
}

/** What would otherwise be found out with each load, and tried again without end. @throws RangeError */
function checkAll(facts: NodeFacts): void {
  checkFacts(facts)
  masqueradeMark(facts.masqueradeBit)
  for (const family of ['IPv4', 'IPv6'] as const) {
    localSource(facts.localTraffic, family)
    nodePortAddresses(facts, family)
  }
}

/** Without their addresses traffic of pods is told from no other: it is masqueraded where it need not be, or not where it should. */
function tellOfPods(traffic: LocalTraffic, primary: IPFamily, log: Logger): void {
  if (localSource(traffic, primary)) return
  log.info({ family: primary }, `detect-local-mode set to ${traffic.mode}, but there is no CIDR of the primary family`)
}

function tellOfLoopback({ nodePortAddresses: selection }: Pick<NodeFacts, 'nodePortAddresses'>, log: Logger): void {
  const lost = selection.filter((text) => {
    const address = parseAddress(text.split('/')[0])
    return address !== undefined && isLoopback(address)
  })
  if (lost.length > 0) log.error({ nodePortAddresses: lost }, 'in nftables mode node ports never answer on loopback')
}

/**
 * Sets what a proxier needs of the kernel's settings: what `kube-proxy --init-only` does. What the kernel refuses is told
 * to the log.
 *
 * @returns whether packets that conntrack cannot place are let through
 * @throws RangeError for malformed options
 */
export function prepareKernel(options: Omit<ProxierOptions, 'client'>): boolean {
  const { netns, conntrack = usualConntrack, log = silentLogger } = options
  setConntrack(conntrack, log, netns)
  const facts = { ...factsOf(options, modeOf(options)), interfaces: {}, conntrackLiberal: false }
  if (nodePortAddresses(facts, 'IPv4').localhost) writeSysctl('net/ipv4/conf/all/route_localnet', 1, log, netns)
  return (readSysctl('net/netfilter/nf_conntrack_tcp_be_liberal', netns) ?? '0') !== '0'
}

/** Tells once when the Node's pods get other addresses than those that rules are made for. */
function podRangeGuard(traffic: LocalTraffic, failed: (error: Error) => void): (node: Node) => void {
  let isTold = false
  return ({ metadata, spec }) => {
    if (traffic.mode !== 'NodeCIDR' || isTold) return
    const [now, before] = [spec?.podCIDRs ?? [], traffic.cidrs]
    if (String(now) === String(before)) return
    isTold = true
    failed(new Error(`the podCIDRs of Node ${metadata?.name} were [${before}] and are [${now}] now`))
  }
}

/** Whether an address is among those of node ports, be it one of loopback, by the interfaces of the moment. */
function nodePortFilter(base: Omit<NodeFacts, 'interfaces'>, netns: string | undefined): (address: string) => boolean {
  return (text) => {
    const address = parseAddress(text)
    if (!address) return false
    const { all, addresses } = nodePortAddresses({ ...base, interfaces: interfacesIn(netns) }, address.family, true)
    return all || addresses.includes(address.text)
  }
}

async function lookForFlush(
  proxiers: readonly FamilyProxier[],
  runners: readonly Runner[],
  log: Logger,
): Promise<void> {
  for (const [index, proxier] of proxiers.entries()) {
    try {
      const astray = await proxier.isAstray()
      if (!astray) continue
      if (astray === 'flushed') log.warn({}, 'somebody has flushed or changed the rules: all are loaded again')
      else log.info({}, 'the addresses of the node have changed: all rules are loaded again')
      runners[index]?.request()
    } catch (error) {
      log.warn({ err: error }, 'could not look whether the rules are still there')
    }
  }
}
