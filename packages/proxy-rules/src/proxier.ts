// The service proxy: follows the API server and keeps the kernel's rules as it says.
import { existsSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import type { KubeClient } from '@nodelet/kube-client'
import type { RuleBackend } from './apply/backend.ts'
import { createIptablesBackend } from './apply/iptables-backend.ts'
import { openIptables } from './apply/iptables-restore.ts'
import { openNft } from './apply/nft.ts'
import { createNftablesBackend } from './apply/nftables-backend.ts'
import { createIpvsBackend } from './apply/ipvs-backend.ts'
import { prepareIpvs, type IpvsKernelSettings } from './apply/ipvs-kernel.ts'
import { removeOtherModes } from './apply/other-mode.ts'
import { inNetns } from './apply/program.ts'
import { readSysctl, setConntrack, writeSysctl } from './apply/sysctls.ts'
import { createFamilyProxier, interfacesIn } from './family-proxier.ts'
import type { FamilyProxier } from './family-proxier.ts'
import { healthEndpoints, metricsEndpoints } from './health/endpoints.ts'
import { parseListenAddress, serve, type ListenAddress } from './health/http.ts'
import { isInTime, type FamilyWork } from './health/proxy-health.ts'
import { createHealthServers } from './health/service-health.ts'
import { excludedRanges, schedulerOf, type IpvsSettings } from './ipvs/style.ts'
import { silentLogger, type Logger } from './log.ts'
import { createProxyMetrics } from './metrics/proxy-metrics.ts'
import type { ProxyMode } from './mode.ts'
import { isLoopback, parseAddress, type IPFamily } from './net/address.ts'
import type { NftablesLayout } from './nftables/style.ts'
import type { LocalTraffic, NodeFacts } from './node/facts.ts'
import { nodePortAddresses } from './node/node-port-addresses.ts'
import { createRunner, type Runner } from './runner.ts'
import { answerInquiry, type Inquiry, type InquiryAnswer } from './trace/inquiry.ts'
import { startTracker } from './tracker.ts'

/** What there is in IPVS mode alone. */
export interface IpvsProxierOptions extends IpvsSettings, IpvsKernelSettings {
  /** Milliseconds between looks whether a real server that is gone has lost its last connection; default 1 minute. */
  terminationPeriodMs?: number | undefined
}

export interface ProxierOptions {
  client: Pick<KubeClient, 'list' | 'watch'>
  nodeName: string
  /** The node's own addresses; the first one decides which family must work. */
  nodeIPs: readonly string[]
  localTraffic: LocalTraffic
  /** Default `iptables`. What other modes left is removed once the rules are loaded. */
  mode?: ProxyMode
  ipvs?: IpvsProxierOptions
  /** How nftables rules are written; default `fast`; `compat` is as the Go proxy writes them. */
  nftablesLayout?: NftablesLayout
  /** A pinned network namespace that stands for the host; default: the own. */
  netns?: string
  /** Milliseconds of rest after each sync; default 1000, in IPVS mode 0. The first sync runs at once. */
  minSyncPeriodMs?: number
  /** Milliseconds between looks whether somebody has flushed the rules, and the longest pause after failures; default 30 s. */
  syncPeriodMs?: number
  /** Where node ports answer: CIDRs, or the single word `primary`; default: everywhere, and `primary` in nftables mode. */
  nodePortAddresses?: readonly string[]
  /** Default false. */
  masqueradeAll?: boolean
  /** Default 14. */
  masqueradeBit?: number
  /** Default true; nftables mode never has them. */
  localhostNodePorts?: boolean
  /** Where `/healthz` and `/livez` answer, for instance `0.0.0.0:10256`; default: nowhere. */
  healthzBindAddress?: string
  /** Where `/metrics`, `/healthz` and `/proxyMode` answer, for instance `127.0.0.1:10249`; default: nowhere. */
  metricsBindAddress?: string
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
  const { client, nodeName, netns, syncPeriodMs = 30_000, log = silentLogger } = options
  const mode = modeOf(options)
  const { minSyncPeriodMs = mode === 'ipvs' ? 0 : 1000 } = options
  const base = factsOf(options, mode)
  const healthzAddress = addressOf('healthzBindAddress', options)
  const metricsAddress = addressOf('metricsBindAddress', options)
  const serveAt = (address: ListenAddress | undefined, name: string, answer: RequestListener): AsyncDisposable[] =>
    address ? [serve(answer, { name, address, netns, log })] : []
  const backends = await openFamilies(options, mode, log)
  if (mode === 'nftables') tellOfLoopback(base, log)
  if (mode === 'ipvs') log.warn({}, 'the mode ipvs is deprecated in Kubernetes, which advises nftables')
  prepareKernel({ ...base, interfaces: {} }, log, netns)
  const metrics = createProxyMetrics(mode, () => proxiers.flatMap((one) => one.graph() ?? []))
  const proxiers = backends.map((backend) => createFamilyProxier({ backend, facts: base, netns, metrics, log }))
  const unloaded = new Set(proxiers)
  /** After the first load of each family: until then what another mode left may serve. */
  const loaded = async (proxier: FamilyProxier): Promise<void> => {
    if (unloaded.delete(proxier) && unloaded.size === 0) await removeOtherModes(mode, log, netns)
  }
  const runners = proxiers.map((proxier, index) =>
    createRunner({
      work: async () => {
        const update = feeds[index]?.take()
        metrics.taken()
        if (update) {
          await proxier.sync(update)
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
    netns,
    isHealthy: () => work().every((one) => isInTime(one, Date.now(), timeoutMs)),
    answersOn: nodePortFilter(base, netns),
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
    onChange: requestAll,
  })
  const feeds = backends.map(() => tracker.openFeed())
  const context = { mode, work, nodeEligible: () => tracker.nodeEligible(), timeoutMs, metrics }
  const servers = [
    ...serveAt(healthzAddress, 'the health server', healthEndpoints(context)),
    ...serveAt(metricsAddress, 'the metrics server', metricsEndpoints(context)),
  ]
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
  }
  const closeFamilies = async (): Promise<void> => void (await Promise.all(proxiers.map((one) => one.close())))
  return {
    synced: async () => {
      await tracker.synced
      await Promise.all(runners.map((runner) => runner.settled()))
    },
    trace: (inquiry) => {
      const facts = proxiers[0]?.facts() ?? { ...base, interfaces: interfacesIn(netns) }
      const graphs = proxiers.flatMap((one) => one.graph() ?? [])
      return answerInquiry(inquiry, {
        mode,
        layout: options.nftablesLayout ?? 'fast',
        ipvs: options.ipvs ?? {},
        graphs,
        facts,
      })
    },
    close: async () => {
      await close()
      await closeFamilies()
    },
    cleanup: async () => {
      await close()
      await Promise.all(proxiers.map((proxier) => proxier.cleanUp()))
      await closeFamilies()
    },
  }
}

function addressOf(
  field: 'healthzBindAddress' | 'metricsBindAddress',
  options: ProxierOptions,
): ListenAddress | undefined {
  const text = options[field]
  return text === undefined ? undefined : parseListenAddress(field, text)
}

const modes: readonly unknown[] = ['iptables', 'ipvs', 'nftables'] satisfies ProxyMode[]

function modeOf({ mode = 'iptables' }: ProxierOptions): ProxyMode {
  if (modes.includes(mode)) return mode
  throw new RangeError(`mode: ${JSON.stringify(mode)} is none; use iptables, ipvs or nftables`)
}

async function openFamilies(options: ProxierOptions, mode: ProxyMode, log: Logger): Promise<RuleBackend[]> {
  const { nodeIPs, netns } = options
  const primary = parseAddress(nodeIPs[0])?.family
  if (!primary) throw new RangeError(`nodeIPs: ${JSON.stringify(nodeIPs)} does not begin with an IP address`)
  const other: IPFamily = primary === 'IPv4' ? 'IPv6' : 'IPv4'
  const first = await openBackend(primary, options, mode, log)
  if (other === 'IPv6' && !hasIPv6(netns)) return [first]
  try {
    return [first, await openBackend(other, options, mode, log)]
  } catch (error) {
    log.info({ err: error }, `there are no rules for ${other}`)
    return [first]
  }
}

async function openBackend(
  family: IPFamily,
  { netns, nftablesLayout: layout = 'fast', ipvs = {} }: ProxierOptions,
  mode: ProxyMode,
  log: Logger,
): Promise<RuleBackend> {
  if (mode === 'iptables') return createIptablesBackend(await openIptables(family, netns))
  if (mode === 'ipvs') {
    excludedRanges(ipvs, family)
    await prepareIpvs(schedulerOf(ipvs.scheduler), ipvs, log, netns)
    const { terminationPeriodMs } = ipvs
    return createIpvsBackend({
      iptables: await openIptables(family, netns),
      settings: ipvs,
      netns,
      log,
      terminationPeriodMs,
    })
  }
  return createNftablesBackend({ nft: await openNft(family, netns), layout, log })
}

function hasIPv6(netns: string | undefined): boolean {
  const present = inNetns(netns, () => existsSync('/proc/net/if_inet6'))
  return present && readSysctl('net/ipv6/conf/all/disable_ipv6', netns) === '0'
}

function factsOf(options: ProxierOptions, mode: ProxyMode): Omit<NodeFacts, 'interfaces'> {
  const addresses = options.nodeIPs.map((text) => parseAddress(text)).filter((address) => address !== undefined)
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
    conntrackLiberal: (readSysctl('net/netfilter/nf_conntrack_tcp_be_liberal', options.netns) ?? '0') !== '0',
  }
}

function tellOfLoopback({ nodePortAddresses: selection }: Omit<NodeFacts, 'interfaces'>, log: Logger): void {
  const lost = selection.filter((text) => {
    const address = parseAddress(text.split('/')[0])
    return address !== undefined && isLoopback(address)
  })
  if (lost.length > 0) log.error({ nodePortAddresses: lost }, 'in nftables mode node ports never answer on loopback')
}

function prepareKernel(facts: NodeFacts, log: Logger, netns: string | undefined): void {
  setConntrack(log, netns)
  if (nodePortAddresses(facts, 'IPv4').localhost) writeSysctl('net/ipv4/conf/all/route_localnet', 1, log, netns)
}

/** Whether node ports answer on an address, by the interfaces of the moment. */
function nodePortFilter(base: Omit<NodeFacts, 'interfaces'>, netns: string | undefined): (address: string) => boolean {
  return (text) => {
    const address = parseAddress(text)
    if (!address) return false
    const { all, addresses } = nodePortAddresses({ ...base, interfaces: interfacesIn(netns) }, address.family)
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
      if (astray === 'flushed') log.warn({}, 'somebody has flushed the rules: all are loaded again')
      else log.info({}, 'the addresses of the node have changed: all rules are loaded again')
      runners[index]?.request()
    } catch (error) {
      log.warn({ err: error }, 'could not look whether the rules are still there')
    }
  }
}
