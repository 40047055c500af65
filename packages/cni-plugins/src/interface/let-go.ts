// DEL of a pod's link and of its addresses, in the order in which no other pod is harmed.
import { isNamespacePinned, openNetlink } from '@nodelet/linux'
import type { PluginCall } from '../sdk/define-plugin.ts'
import type { Host } from '../types.ts'
import { release } from './ipam.ts'
import type { WithIpam } from './ipam.ts'

/**
 * Another pod may get the addresses at once, so they are given back when the link has ended; but dhcp tells its server by the
 * link, so there they are taken from it first. Rules that wait are made meanwhile.
 *
 * @param end the link's; fine when it is gone
 */
export async function letGo(
  call: PluginCall<WithIpam>,
  host: Host,
  signal: AbortSignal,
  end: () => Promise<void>,
): Promise<void> {
  const isByLink = call.config.ipam?.type === 'dhcp'
  if (isByLink) {
    await withdraw(call)
    await release(call, host, signal)
  }
  const [rules, gone] = await Promise.allSettled([host.settleRules(signal), end()])
  for (const done of [rules, gone]) if (done.status === 'rejected') throw done.reason
  if (!isByLink) await release(call, host, signal)
}

async function withdraw({ network: { netns, ifName } }: PluginCall<unknown>): Promise<void> {
  if (!isNamespacePinned(netns)) return
  using inside = openNetlink({ netns })
  const link = await inside.links.get(ifName)
  if (!link) return
  for (const { address, scope } of await inside.addresses.list({ link: link.index })) {
    if (scope === 'global') await inside.addresses.delete(link.index, address)
  }
}
