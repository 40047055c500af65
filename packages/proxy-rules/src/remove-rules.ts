// Takes the rules of proxy and kubelet away without either: for the day the node goes, or another proxy comes.
import { cleanUp, type CleanupOptions } from './apply/cleanup.ts'
import { UnusableIptables, type Iptables } from './apply/iptables-restore.ts'
import { createToolFinder, openAllIptables, openIptables, type FindTools } from './apply/iptables-tools.ts'
import { removeTable } from './apply/nft.ts'
import { removePacketCounters } from './apply/packet-counters.ts'
import { removeIpvs } from './apply/remove-ipvs.ts'
import { silentLogger, type Logger } from './log.ts'
import type { IPFamily } from './net/address.ts'

export interface RemoveOptions {
  /** A pinned network namespace that stands for the host; default: the own. */
  netns?: string
  log?: Logger
}

const families: readonly IPFamily[] = ['IPv4', 'IPv6']

/**
 * What `kube-proxy --cleanup` does: removes every rule of a service proxy, whatever its mode, for both address families and in
 * both variants of iptables; all virtual servers of IPVS, its link and its IP sets. What it shares with a kubelet stays while
 * that has rules. What is not installed, or not in this kernel, is passed over. Needs root. Safe to run again.
 *
 * @throws AggregateError when something that is there could not be removed; the rest is gone
 */
export async function removeProxyRules(options: RemoveOptions = {}): Promise<void> {
  await removeAll(options, { kubelet: false }, createToolFinder(options.netns))
}

/**
 * The same, with the rules of a kubelet.
 *
 * @throws Error when iptables does not work for IPv4; AggregateError
 */
export async function removeNodeRules(options: RemoveOptions = {}): Promise<void> {
  const { netns } = options
  const find = createToolFinder(netns)
  await openIptables('IPv4', { netns, find })
  await removeAll(options, { kubelet: true }, find)
}

async function removeAll(
  { netns, log = silentLogger }: RemoveOptions,
  what: CleanupOptions,
  find: FindTools,
): Promise<void> {
  const errors: unknown[] = []
  const attempt = async (name: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work()
    } catch (error) {
      log.error({ err: error }, `${name} could not be removed`)
      errors.push(error)
    }
  }
  for (const family of families) {
    // What is not installed has no rules.
    for (const iptables of await openAllIptables(family, { netns, find }).catch(() => [])) {
      const name = `rules of iptables for ${family} (${iptables.variant})`
      await attempt(name, async () => passOverUnusable(iptables, async () => cleanUp(iptables, what)))
    }
    await attempt(`the table of nftables for ${family}`, async () => removeTable(family, netns))
  }
  await attempt('counters of packets', async () => removePacketCounters(netns))
  for (const error of await removeIpvs({ netns, onlyWithLink: what.kubelet ?? false })) {
    await attempt('a part of IPVS', () => Promise.reject(error))
  }
  if (errors.length > 0) throw new AggregateError(errors, 'encountered an error while tearing down rules')
}

/** What the kernel does not have has no rules either. */
async function passOverUnusable(iptables: Iptables, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    const isUnusable = await iptables.probe().then(
      () => false,
      (why: unknown) => why instanceof UnusableIptables,
    )
    if (!isUnusable) throw error
  }
}
