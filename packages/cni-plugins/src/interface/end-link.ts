// The end of a pod's link.
import { isNamespacePinned, openNetlink } from '@nodelet/linux'
import type { PluginCall } from '../sdk/define-plugin.ts'

/**
 * Takes the pod's link out of service before its addresses are another's: down where the namespace goes right after, and the
 * link with it, else deleted. Fine when link or namespace are gone.
 *
 * @param isExclusive no other pod can have its like as long as it is there, up or down
 */
export async function endLink(
  { network: { netns, ifName }, namespaceGoes }: PluginCall<unknown>,
  isExclusive: boolean = false,
): Promise<void> {
  if (!isNamespacePinned(netns)) return
  using inside = openNetlink({ netns })
  if (!namespaceGoes || isExclusive) return inside.links.delete(ifName)
  if (await inside.links.get(ifName)) await inside.links.set(ifName, { up: false })
}
