// Moves a device between the machine and a pod; its alias keeps the name that it had.
import { isNamespacePinned, openNetlink } from '@nodelet/linux'
import type { Link, Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import type { Host, PluginAttachment } from '../../types.ts'
import { undo } from '../../undo.ts'

/**
 * In one request the kernel moves and renames: neither name is in the way of a link of the other namespace.
 *
 * @returns the device as it is in the pod, down
 * @throws CniError when the pod has a link of that name
 */
export async function moveIn(
  host: Pick<Host, 'log'>,
  outside: Netlink,
  inside: Netlink,
  device: Link,
  { netns, ifName }: PluginAttachment,
): Promise<Link> {
  if (await inside.links.get(ifName)) {
    throw new CniError(cniCode.internal, `failed to move link ${device.name}: "${ifName}" is in ${netns} already`)
  }
  try {
    await outside.links.set(device.index, { up: false })
    await outside.links.set(device.index, { netns, name: ifName, alias: device.name })
  } catch (error) {
    await undo(host, async () => device.up && outside.links.set(device.index, { up: true }))
    throw error
  }
  const moved = await inside.links.get(ifName)
  if (!moved) throw new CniError(cniCode.internal, `${ifName} is gone`)
  return moved
}

/**
 * Gives the device back, down, under its old name. Fine when device or namespace are gone.
 *
 * @param name the old one where the alias is lost
 * @throws CniError when the machine has another link of that name meanwhile
 */
export async function moveOut(
  host: Pick<Host, 'netns'>,
  { netns, ifName }: PluginAttachment,
  name?: string,
): Promise<void> {
  if (!isNamespacePinned(netns)) return
  using inside = openNetlink({ netns })
  const link = await inside.links.get(ifName)
  if (!link) return
  await inside.links.set(link.index, { up: false })
  const old = link.alias ?? name ?? ifName
  using outside = openNetlink({ netns: host.netns })
  if (await outside.links.get(old)) {
    throw new CniError(cniCode.internal, `failed to move ${ifName} to host netns: there is another ${old}`)
  }
  await inside.links.set(link.index, { netns: host.netns ?? '/proc/self/ns/net', name: old, alias: '' })
}
