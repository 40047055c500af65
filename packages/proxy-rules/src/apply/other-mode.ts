// What another mode of the proxy left in the kernel.
import type { ProxyMode } from '../mode.ts'
import type { Logger } from '../log.ts'
import type { IPFamily } from '../net/address.ts'
import { cleanUp } from './cleanup.ts'
import { removeIpvs } from './remove-ipvs.ts'
import { openIptables } from './iptables-restore.ts'
import { removeTable } from './nft.ts'

const families: readonly IPFamily[] = ['IPv4', 'IPv6']

/** Removes it for both families. Where the tools of that mode are not there, nothing can be left. */
export async function removeOtherMode(mode: ProxyMode, log: Logger, netns?: string): Promise<void> {
  for (const family of families) {
    try {
      if (mode === 'nftables') await cleanUp(await openIptables(family, netns))
      else await removeTable(family, netns)
    } catch (error) {
      log.debug({ err: error, family }, 'nothing was removed of the other mode of the proxy')
    }
  }
  if (mode !== 'nftables') return
  for (const error of await removeIpvs({ netns, onlyWithLink: true }))
    log.debug({ err: error }, 'not all of IPVS was removed')
}
