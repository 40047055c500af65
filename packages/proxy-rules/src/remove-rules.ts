// Takes the rules of proxy and kubelet away without either: for the day the node goes, or another proxy comes.
import { readFileSync } from 'node:fs'
import { cleanUp, type CleanupOptions } from './apply/cleanup.ts'
import { openIptables, type Iptables, type IptablesFlavour } from './apply/iptables-restore.ts'
import { removeTable } from './apply/nft.ts'
import { inNetns } from './apply/program.ts'
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
 * both flavours of iptables; all virtual servers of IPVS, its link and its IP sets. What it shares with a kubelet stays while
 * that has rules. What is not installed, or not in this kernel, is passed over. Needs root. Safe to run again.
 *
 * @throws AggregateError when something that is there could not be removed; the rest is gone
 */
export async function removeProxyRules(options: RemoveOptions = {}): Promise<void> {
  await removeAll(options, { kubelet: false })
}

/**
 * The same, with the rules of a kubelet.
 *
 * @throws Error when iptables does not work for IPv4; AggregateError
 */
export async function removeNodeRules(options: RemoveOptions = {}): Promise<void> {
  await openIptables('IPv4', options.netns)
  await removeAll(options, { kubelet: true })
}

async function removeAll({ netns, log = silentLogger }: RemoveOptions, what: CleanupOptions): Promise<void> {
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
    for (const iptables of await flavoursOf(family, netns, log)) {
      await attempt(`rules of iptables for ${family} (${iptables.flavour})`, async () => cleanUp(iptables, what))
    }
    await attempt(`the table of nftables for ${family}`, async () => removeTable(family, netns))
  }
  for (const error of await removeIpvs({ netns, onlyWithLink: what.kubelet ?? false })) {
    await attempt('a part of IPVS', () => Promise.reject(error))
  }
  if (errors.length > 0) throw new AggregateError(errors, 'encountered an error while tearing down rules')
}

/** What cannot be opened is not installed, or not in this kernel: it has no rules. */
async function opened<Tool>(open: () => Promise<Tool>, log: Logger): Promise<Tool | undefined> {
  try {
    return await open()
  } catch (error) {
    log.debug({ err: error }, 'not here: nothing to remove')
    return undefined
  }
}

/** The one that the machine uses, and the other one where it may have rules. */
async function flavoursOf(family: IPFamily, netns: string | undefined, log: Logger): Promise<Iptables[]> {
  const usual = await opened(async () => openIptables(family, netns), log)
  const others = (['legacy', 'nft'] satisfies IptablesFlavour[]).filter(
    (flavour) => flavour !== usual?.flavour && (flavour === 'nft' || hasLegacyTables(family, netns)),
  )
  const more = await Promise.all(
    others.map(async (flavour) => opened(async () => openIptables(family, netns, flavour), log)),
  )
  return [usual, ...more].filter((one) => one !== undefined)
}

/** Asking the program would make them. */
function hasLegacyTables(family: IPFamily, netns: string | undefined): boolean {
  const file = family === 'IPv4' ? '/proc/net/ip_tables_names' : '/proc/net/ip6_tables_names'
  try {
    return inNetns(netns, () => readFileSync(file, 'utf8')).trim() !== ''
  } catch {
    return false // no such file: the kernel has loaded nothing of it
  }
}
