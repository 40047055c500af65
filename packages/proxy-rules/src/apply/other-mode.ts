// What other modes of the proxy left in the kernel.
import type { ProxyMode } from '../mode.ts'
import type { Logger } from '../log.ts'
import type { IPFamily } from '../net/address.ts'
import { cleanupText } from '../nftables/text.ts'
import { cleanUp, leftoverText } from './cleanup.ts'
import { openIptables } from './iptables-restore.ts'
import { removeIpvs } from './ipvs-cleanup.ts'
import { openNft } from './nft.ts'

const families: readonly IPFamily[] = ['IPv4', 'IPv6']

/** Removes it for both families. Where the tools of a mode are not there, nothing can be left. */
export async function removeOtherModes(mode: ProxyMode, log: Logger, netns?: string): Promise<void> {
  const attempt = async (work: () => Promise<void>, family?: IPFamily): Promise<void> => {
    try {
      await work()
    } catch (error) {
      log.debug({ err: error, family }, 'nothing was removed of another mode of the proxy')
    }
  }
  for (const family of families) {
    if (mode !== 'nftables') await attempt(async () => (await openNft(family, netns)).run(cleanupText(family)), family)
    await attempt(async () => {
      const iptables = await openIptables(family, netns)
      if (mode === 'nftables') await cleanUp(iptables)
      else await iptables.update((saved) => leftoverText(saved, mode))
    }, family)
  }
  if (mode !== 'ipvs') await attempt(() => removeIpvs(netns))
}
