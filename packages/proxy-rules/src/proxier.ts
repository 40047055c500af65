// The service proxy: follows the API server and keeps the kernel's rules as it says.
import { existsSync } from 'node:fs'
import type { KubeClient } from '@nodelet/kube-client'
import { openIptables } from './apply/iptables-restore.ts'
import type { Iptables } from './apply/iptables-restore.ts'
import { inNetns } from './apply/program.ts'
import { readSysctl, setConntrack, writeSysctl } from './apply/sysctls.ts'
import { createFamilyProxier, interfacesIn } from './family-proxier.ts'
import type { FamilyProxier } from './family-proxier.ts'
import { createHealthServers } from './health/service-health.ts'
import { silentLogger, type Logger } from './log.ts'
import { parseAddress, type IPFamily } from './net/address.ts'
import type { LocalTraffic, NodeFacts } from './node/facts.ts'
import { nodePortAddresses } from './node/node-port-addresses.ts'
import { createRunner, type Runner } from './runner.ts'
import { startTracker } from './tracker.ts'

export interface ProxierOptions {
  client: Pick<KubeClient, 'list' | 'watch'>
  nodeName: string
  /** The node's own addresses; the first one decides which family must work. */
  nodeIPs: readonly string[]
  localTraffic: LocalTraffic
  /** A pinned network namespace that stands for the host; default: the own. */
  netns?: string
  /** Milliseconds of rest after each sync; default 1000. The first sync runs at once. */
  minSyncPeriodMs?: number
  /** Milliseconds between looks whether somebody has flushed the rules, and the longest pause after failures; default 30 s. */
  syncPeriodMs?: number
  /** Where node ports answer: CIDRs, or the single word `primary`; default: everywhere. */
  nodePortAddresses?: readonly string[]
  /** Default false. */
  masqueradeAll?: boolean
  /** Default 14. */
  masqueradeBit?: number
  /** Default true. */
  localhostNodePorts?: boolean
  log?: Logger
}

/** A proxy at work. Its rules stay when it is closed. */
export interface Proxier {
  /** Once the rules are what the API server says at this moment; rejected when closed before. */
  synced(): Promise<void>
  close(): Promise<void>
  /** Closes, and removes every chain and rule of ours. */
  cleanup(): Promise<void>
}

const firstRetryMs = 1000

/**
 * Starts the proxy in iptables mode, for IPv4 and, where the machine has it, IPv6. Needs root and the program `iptables` (with
 * `-save` and `-restore`, 1.6.2 or later).
 *
 * @throws Error when iptables does not work for the family of the first node address; RangeError for malformed options
 */
export async function startProxier(options: ProxierOptions): Promise<Proxier> {
  const { client, nodeName, netns, minSyncPeriodMs = 1000, syncPeriodMs = 30_000, log = silentLogger } = options
  const families = await openFamilies(options, log)
  const base = factsOf(options)
  prepareKernel({ ...base, interfaces: {} }, log, netns)
  const proxiers = families.map((iptables) =>
    createFamilyProxier({ iptables, facts: { ...base, randomFully: iptables.randomFully }, netns, log }),
  )
  const runners = proxiers.map((proxier, index) =>
    createRunner({
      work: async () => {
        await proxier.sync(tracker.snapshot())
        health.update(proxiers.flatMap((one) => one.graph() ?? []))
      },
      pauseMs: minSyncPeriodMs,
      retryMs: firstRetryMs,
      longestRetryMs: syncPeriodMs,
      onFailure: (error) => {
        log.error({ err: error, family: families[index]?.family }, 'the rules could not be loaded: it is tried again')
      },
    }),
  )
  const isLate = (runner: Runner): boolean => Date.now() - (runner.waitingSince() ?? Infinity) >= 2 * syncPeriodMs
  const health = createHealthServers({
    netns,
    isHealthy: () => !runners.some(isLate),
    answersOn: nodePortFilter(base, netns),
    log,
  })
  const requestAll = (): void => runners.forEach((runner) => runner.request())
  const tracker = startTracker({ client, nodeName, log, onChange: requestAll })
  let looking: Promise<void> | undefined
  const look = (): void => {
    looking ??= lookForFlush(proxiers, runners, log).finally(() => (looking = undefined))
  }
  const watch = setInterval(look, syncPeriodMs)
  watch.unref()
  const close = async (): Promise<void> => {
    clearInterval(watch)
    await looking
    await tracker[Symbol.asyncDispose]()
    await Promise.all(runners.map((runner) => runner.close()))
    await health.close()
  }
  return {
    synced: async () => {
      await tracker.synced
      await Promise.all(runners.map((runner) => runner.settled()))
    },
    close,
    cleanup: async () => {
      await close()
      await Promise.all(proxiers.map((proxier) => proxier.cleanUp()))
    },
  }
}

async function openFamilies({ nodeIPs, netns }: ProxierOptions, log: Logger): Promise<Iptables[]> {
  const primary = parseAddress(nodeIPs[0])?.family
  if (!primary) throw new RangeError(`nodeIPs: ${JSON.stringify(nodeIPs)} does not begin with an IP address`)
  const other: IPFamily = primary === 'IPv4' ? 'IPv6' : 'IPv4'
  const first = await openIptables(primary, netns)
  if (other === 'IPv6' && !hasIPv6(netns)) return [first]
  try {
    return [first, await openIptables(other, netns)]
  } catch (error) {
    log.info({ err: error }, `there are no rules for ${other}`)
    return [first]
  }
}

function hasIPv6(netns: string | undefined): boolean {
  const present = inNetns(netns, () => existsSync('/proc/net/if_inet6'))
  return present && readSysctl('net/ipv6/conf/all/disable_ipv6', netns) === '0'
}

function factsOf(options: ProxierOptions): Omit<NodeFacts, 'interfaces'> {
  const addresses = options.nodeIPs.map((text) => parseAddress(text)).filter((address) => address !== undefined)
  const nodeIPs = Object.fromEntries(addresses.toReversed().map(({ family, text }) => [family, text]))
  return {
    nodeIPs,
    nodePortAddresses: options.nodePortAddresses ?? [],
    masqueradeAll: options.masqueradeAll ?? false,
    masqueradeBit: options.masqueradeBit ?? 14,
    localhostNodePorts: options.localhostNodePorts ?? true,
    localTraffic: options.localTraffic,
    randomFully: true,
    nfacct: false,
    conntrackLiberal: (readSysctl('net/netfilter/nf_conntrack_tcp_be_liberal', options.netns) ?? '0') !== '0',
  }
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
      if (!(await proxier.wasFlushed())) continue
      log.warn({}, 'somebody has flushed the rules: all are loaded again')
      runners[index]?.request()
    } catch (error) {
      log.warn({ err: error }, 'could not look whether the rules are still there')
    }
  }
}
