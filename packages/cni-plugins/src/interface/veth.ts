// A pair of links: one end in the pod, one on the machine.
import { isNamespacePinned, LinuxError, openNetlink } from '@nodelet/linux'
import type { Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../errors.ts'
import { vethName } from '../names.ts'
import type { PluginCall } from '../sdk/define-plugin.ts'
import type { Host, PluginAttachment } from '../types.ts'
import { needing } from '../kernel-feature.ts'

/** How often another name is tried when the random one is taken. */
const nameTries = 10

export interface LinkEnd {
  name: string
  index: number
  mac?: string
}

export interface VethOptions {
  /** 0: the kernel's. */
  mtu: number
  /** Index of the bridge that the machine's end becomes a port of. */
  master?: number
  /** Of the pod's end. */
  mac?: string | undefined
}

/**
 * The machine's end is up; the pod's end is born in its namespace, and down. Without a namespace both are the machine's.
 *
 * @param outside opened in the machine's namespace
 * @returns the machine's end
 * @throws CniError when the pod has a link of that name
 */
export async function makeVeth(
  outside: Netlink,
  { netns, ifName }: Pick<PluginAttachment, 'ifName'> & { netns?: string | undefined },
  { mtu, master, mac }: VethOptions,
): Promise<LinkEnd> {
  const size = mtu ? { mtu } : {}
  for (let tries = 1; ; tries += 1) {
    const name = vethName()
    try {
      const peer = { name: ifName, ...(netns !== undefined && { netns }), ...size, ...(mac !== undefined && { mac }) }
      const port = { up: true, ...(master !== undefined && { master }), ...size }
      return { name, ...(await needing('veth', outside.links.add({ kind: 'veth', name, ...port, peer }))) }
    } catch (error) {
      const isTaken = error instanceof LinuxError && error.code === 'EEXIST'
      if (isTaken && tries < nameTries && (await outside.links.get(name))) continue
      throw isTaken
        ? new CniError(cniCode.internal, `container veth name ("${ifName}") already exists`, { cause: error })
        : error
    }
  }
}

/**
 * A link takes the kernel some 20 ms to delete: where the namespace goes anyway, the machine's end only goes down. Fine when there
 * is nothing.
 */
export async function endVeth(
  { network: { netns, ifName }, prevResult, namespaceGoes }: PluginCall<unknown>,
  host: Host,
): Promise<void> {
  const ends = (prevResult?.interfaces ?? []).filter(({ name, sandbox }) => !sandbox && /^veth[0-9a-f]{8}$/.test(name))
  const isPinned = isNamespacePinned(netns)
  if (isPinned && !(namespaceGoes && ends.length > 0)) {
    using inside = openNetlink({ netns })
    return inside.links.delete(ifName)
  }
  using outside = openNetlink({ netns: host.netns })
  for (const { name } of ends) {
    if (!isPinned) await outside.links.delete(name)
    else if (await outside.links.get(name)) await outside.links.set(name, { up: false })
  }
}
