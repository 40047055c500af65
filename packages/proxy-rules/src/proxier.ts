// The service proxy: follows the API server and keeps the kernel's rules as it says.
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import { setConntrack, usualConntrack } from './apply/conntrack-settings.ts'
import { createToolFinder } from './apply/iptables-tools.ts'
import { countedPackets } from './apply/packet-counters.ts'
import { removeOtherModes } from './apply/other-mode.ts'
import { readSysctl, writeSysctl } from './apply/sysctls.ts'
import { createRecorder } from './events.ts'
import { createFamilyProxier, interfacesIn } from './family-proxier.ts'
import type { FamilyProxier } from './family-proxier.ts'
import { isInTime, type FamilyWork } from './health/proxy-health.ts'
import { planServers } from './health/servers.ts'
import { createHealthServers } from './health/service-health.ts'
import { silentLogger, type Logger } from './log.ts'
import { createProxyMetrics } from './metrics/proxy-metrics.ts'
import { isLoopback, parseAddress, type IPFamily } from './net/address.ts'
import type { LocalTraffic, NodeFacts } from './node/facts.ts'
import { localSource } from './node/local-traffic.ts'
import { nodePortAddresses } from './node/node-port-addresses.ts'
import { createRunner, type Runner } from './runner.ts'
import { inSlices } from './slices.ts'
import { answerInquiry, type Inquiry, type InquiryAnswer } from './trace/inquiry.ts'
import { startTracker } from './tracker.ts'
import { keptBy, openCounting, openFamilies } from './families.ts'
import { layoutOf } from './nftables/style.ts'
import { checkAll, factsOf, modeOf } from './options.ts'
import type { ProxierOptions } from './options.ts'

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
/** A timer that is to last longer ends at once. */
const longestTimerMs = 2 ** 31 - 1

/**
 * Starts the proxy, for IPv4 and, where the machine has it, IPv6. Needs root and the program `iptables` (with `-save` and
 * `-restore`, 1.6.2 or later), or in nftables mode `nft` (1.0.1 or later, Linux 5.13 or later); in IPVS mode also a kernel with IPVS,
 * dummy devices and IP sets.
 *
 * @throws Error when that does not work for the family of the first node address; RangeError for malformed options
 */
export async function startProxier(options: ProxierOptions): Promise<Proxier> {
  const { client, nodeName, netns, allowServiceExternalIPs = true, log = silentLogger } = options
  const mode = modeOf(options)
  const layout = layoutOf(options.nftablesLayout, 'nftablesLayout')
  const syncPeriodMs = Math.min(options.syncPeriodMs ?? 30_000, longestTimerMs)
  const minSyncPeriodMs = Math.min(options.minSyncPeriodMs ?? (mode === 'ipvs' ? 0 : 1000), longestTimerMs)
  const base = factsOf(options, mode)
  checkAll({ ...base, interfaces: {}, conntrackLiberal: false })
  const openServers = planServers(options)
  const failed = options.failed ?? ((error) => log.error({ err: error }, 'the proxy has to be started anew'))
  const metrics = createProxyMetrics(mode, () => proxiers.flatMap((one) => one.graph() ?? []))
  const find = createToolFinder(netns)
  const backends = await openFamilies(options, { mode, metrics, find, log })
  tellOfPods(base.localTraffic, backends[0]?.family ?? 'IPv4', log)
  if (mode === 'nftables') tellOfLoopback(base, log)
  const counting = openCounting(backends, log, () =>
    metrics.countPackets(async (counter) => countedPackets(counter, netns)),
  )
  await counting.settle()
  const facts = { ...base, conntrackLiberal: prepareKernel(options) }
  const counts = counting.isOn
  const { create, patch } = client
  const events = createRecorder({ client: create && patch && { create, patch }, nodeName, log })
  const proxiers = backends.map((backend) => createFamilyProxier({ backend, facts, counts, netns, metrics, log }))
  const unloaded = new Set(proxiers)
  const removeOthers = async (): Promise<boolean> => removeOtherModes(keptBy(mode, backends), log, { netns, find })
  /** Somebody held the lock of tables in which another mode has left something. */
  let isLeft = false
  /** After the first load of each family: until then what another mode left may serve. */
  const loaded = async (proxier: FamilyProxier): Promise<void> => {
    if (!unloaded.delete(proxier) || unloaded.size > 0) return
    isLeft = !(await removeOthers())
    if (isLeft) log.warn({}, 'the tables are locked: what another mode of the proxy left there goes later')
  }
  const runners = proxiers.map((proxier, index) =>
    createRunner({
      work: async (signal) => {
        const feed = feeds[index]
        const update = feed && (await inSlices(feed.takeInTurn(), signal))
        metrics.taken()
        if (update) {
          await counting.settle()
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
    looking ??= lookForFlush(proxiers, runners, log)
      .then(async () => void (isLeft &&= !(await removeOthers())))
      .catch((error: unknown) => log.warn({ err: error }, 'what another mode of the proxy left could not be removed'))
      .finally(() => (looking = undefined))
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
        layout,
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
      await removeOthers()
      await closeFamilies()
    },
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
      else if (astray === 'outdated') log.info({}, 'the addresses of the node have changed: all rules are loaded again')
      runners[index]?.request()
    } catch (error) {
      log.warn({ err: error }, 'could not look whether the rules are still there')
    }
  }
}
