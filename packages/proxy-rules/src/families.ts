// Where the rules of IPv4 and of IPv6 go: the back end of the mode, for each family that the machine has.
import { existsSync } from 'node:fs'
import type { RuleBackend } from './apply/backend.ts'
import { createIptablesBackend } from './apply/iptables-backend.ts'
import { LockedIptables } from './apply/iptables-restore.ts'
import { openIptables, type FindTools } from './apply/iptables-tools.ts'
import { openNft } from './apply/nft.ts'
import { createNftablesBackend } from './apply/nftables-backend.ts'
import { createIpvsBackend } from './apply/ipvs-backend.ts'
import { prepareIpvs } from './apply/ipvs-kernel.ts'
import type { Kept } from './apply/other-mode.ts'
import { inNetns } from './apply/program.ts'
import { readSysctl } from './apply/sysctls.ts'
import { excludedRanges, schedulerOf } from './ipvs/style.ts'
import type { Logger } from './log.ts'
import type { ProxyMetrics } from './metrics/proxy-metrics.ts'
import type { ProxyMode } from './mode.ts'
import { layoutOf } from './nftables/style.ts'
import { parseAddress, type IPFamily } from './net/address.ts'
import { variantOf } from './options.ts'
import type { ProxierOptions } from './options.ts'

export function keptBy(mode: ProxyMode, backends: readonly RuleBackend[]): Kept {
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

export async function openFamilies(options: ProxierOptions, context: BackendContext): Promise<RuleBackend[]> {
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
  const { netns, nftablesLayout, ipvs = {} } = options
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
  const layout = layoutOf(nftablesLayout)
  return createNftablesBackend({ nft: await openNft(family, netns), layout, cleanupFailed, log })
}

/** Whether rules can count packets: in each family, or in none. */
export interface Counting {
  /** As far as is known. */
  isOn(): boolean
  /** Finds out, unless it is known. */
  settle(): Promise<void>
}

/** @param counted told once when rules can count */
export function openCounting(backends: readonly RuleBackend[], log: Logger, counted: () => void): Counting {
  const preparations = backends.flatMap(({ prepareCounters }) => prepareCounters ?? [])
  let isOn: boolean | undefined = preparations.length > 0 ? undefined : false
  let settling: Promise<void> | undefined
  const find = async (): Promise<void> => {
    const results = await Promise.allSettled(preparations.map(async (prepare) => prepare()))
    const failures = results.flatMap((result): unknown[] => (result.status === 'rejected' ? [result.reason] : []))
    const refusal = failures.find((error) => !(error instanceof LockedIptables))
    if (refusal !== undefined) {
      isOn = false
      log.warn({ err: refusal }, 'rules cannot count packets here: the two metrics of nfacct are missing')
    } else if (failures.length > 0) log.info({ err: failures[0] }, 'the tables are locked: packets are not counted yet')
    else {
      isOn = true
      counted()
    }
  }
  return {
    isOn: () => isOn === true,
    settle: async () => {
      if (isOn !== undefined) return
      settling ??= find().finally(() => (settling = undefined))
      await settling
    },
  }
}

function hasIPv6(netns: string | undefined): boolean {
  const present = inNetns(netns, () => existsSync('/proc/net/if_inet6'))
  return present && readSysctl('net/ipv6/conf/all/disable_ipv6', netns) === '0'
}
