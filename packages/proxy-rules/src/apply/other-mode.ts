// What another mode of the proxy left in the kernel, or the same mode with the other iptables.
import type { Logger } from '../log.ts'
import type { ProxyMode } from '../mode.ts'
import type { IPFamily } from '../net/address.ts'
import { cleanUp, removeLeftovers } from './cleanup.ts'
import { LockedIptables } from './iptables-restore.ts'
import { openAllIptables, type OpenIptablesOptions } from './iptables-tools.ts'
import type { IptablesVariant } from './iptables-variant.ts'
import { removeTable } from './nft.ts'
import { removePacketCounters } from './packet-counters.ts'
import { removeIpvs } from './remove-ipvs.ts'

/** What stays in the kernel. */
export interface Kept {
  mode: ProxyMode
  /** Of each family that has rules there; what is in the other variants goes, and so does all of a family that is not named. */
  iptables: Partial<Record<IPFamily, IptablesVariant>>
}

const families: readonly IPFamily[] = ['IPv4', 'IPv6']

/**
 * Removes the rest, for both families. Where a tool is not there, or its tables are not, nothing can be left.
 * @returns whether it is over: not while somebody holds the lock of tables that something is left in
 */
export async function removeOtherModes(
  { mode, iptables: kept }: Kept,
  log: Logger,
  { netns, find }: Pick<OpenIptablesOptions, 'netns' | 'find'> = {},
): Promise<boolean> {
  let isOver = true
  const tryTo = async (family: IPFamily, work: () => Promise<void>): Promise<void> => {
    try {
      await work()
    } catch (error) {
      if (error instanceof LockedIptables) isOver = false
      log.debug({ err: error, family }, 'nothing was removed of the other modes of the proxy')
    }
  }
  for (const family of families) {
    if (mode !== 'nftables') await tryTo(family, async () => removeTable(family, netns))
    await tryTo(family, async () => {
      for (const iptables of await openAllIptables(family, { netns, find })) {
        const isKept = mode !== 'nftables' && iptables.variant === kept[family]
        await tryTo(family, async () => (isKept ? removeLeftovers(iptables, mode) : cleanUp(iptables)))
      }
    })
  }
  if (mode !== 'iptables')
    await removePacketCounters(netns).catch((error: unknown) =>
      log.debug({ err: error }, 'counters of packets were not removed'),
    )
  if (mode === 'ipvs') return isOver
  for (const error of await removeIpvs({ netns, onlyWithLink: true }))
    log.debug({ err: error }, 'not all of IPVS was removed')
  return isOver
}
