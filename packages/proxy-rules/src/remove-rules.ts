// Takes the rules of proxy and kubelet away without either: for the day the node goes.
import { cleanUp } from './apply/cleanup.ts'
import { openIptables } from './apply/iptables-restore.ts'
import { removeIpvs } from './apply/ipvs-cleanup.ts'
import { removeOtherModes } from './apply/other-mode.ts'
import { silentLogger, type Logger } from './log.ts'

/**
 * Removes every chain and rule of a service proxy, whatever its mode, and of a kubelet, for both address families. Safe to run again.
 *
 * @throws Error when iptables does not work for IPv4
 */
export async function removeNodeRules({
  netns,
  log = silentLogger,
}: { netns?: string; log?: Logger } = {}): Promise<void> {
  await removeOtherModes('iptables', log, netns)
  await cleanUp(await openIptables('IPv4', netns), { kubelet: true })
  try {
    await cleanUp(await openIptables('IPv6', netns), { kubelet: true })
  } catch (error) {
    log.info({ err: error }, 'there are no rules for IPv6')
  }
  await removeIpvs(netns)
}
