#!/usr/bin/env node
// A CNI plugin: pods of several nodes in one network, by VXLAN over the network that the nodes have.
import { CniError, cniCode, definePlugin, runExecutable } from '@nodelet/cni-plugins/sdk'
import type { Host, RequestConfig } from '@nodelet/cni-plugins/sdk'
import { LinuxError, openNetlink } from '@nodelet/linux'
import type { Link, Netlink, NewLink } from '@nodelet/linux'
import { z } from 'zod'

const schema = z.object({
  /** VXLAN's number of the network, the same on all nodes. */
  id: z.number().int().min(1).max(0xff_ff_ff),
  /** The address of this node that the others send to. */
  local: z.ipv4(),
  /** Those of the other nodes. */
  nodes: z.array(z.ipv4()),
})
type Overlay = z.infer<typeof schema>

const namesOf = ({ id }: Overlay): { bridge: string; vxlan: string } => ({ bridge: `ov${id}`, vxlan: `vx${id}` })

/** By IANA. */
const port = 4789
/** What goes in front of each packet: Ethernet, VXLAN, UDP and IPv4. */
const overheadBytes = 50
/** Stands for every address that is not known yet, and for broadcasts. */
const unknownMac = '00:00:00:00:00:00'

/** The links that all pods of this node share: may run again, and beside itself. Gives the size of the pods' packets. */
async function ensureOverlay(overlay: Overlay, host: Host): Promise<number> {
  const { id, local, nodes } = overlay
  const { bridge, vxlan } = namesOf(overlay)
  using net = openNetlink({ netns: host.netns })
  const below = await linkOf(net, local)
  const mtu = below.mtu - overheadBytes
  await ensureLink(net, { kind: 'bridge', name: bridge, up: true })
  const tunnel = { kind: 'vxlan', id, local, port, through: below.index } as const
  const { index } = await ensureLink(net, { ...tunnel, name: vxlan, master: bridge, mtu, up: true })
  const known = await destinations(net, index)
  const to = (destination: string) => ({ index, mac: unknownMac, self: true, destination })
  for (const node of nodes) if (!known.includes(node)) await net.bridge.addForwarding(to(node), 'append')
  for (const node of known) if (!nodes.includes(node)) await net.bridge.deleteForwarding(to(node))
  return mtu
}

async function linkOf(net: Netlink, local: string): Promise<Link> {
  const own = (await net.addresses.list()).find(({ address }) => address.split('/')[0] === local)
  const link = own && (await net.links.get(own.index))
  if (!link) throw new CniError(cniCode.notAvailable, `overlay: no link of this node has the address ${local}`)
  return link
}

async function ensureLink(net: Netlink, link: NewLink): Promise<Link> {
  try {
    await net.links.add(link)
  } catch (error) {
    // It is there, or another pod was quicker.
    if (!(error instanceof LinuxError && error.code === 'EEXIST')) throw error
  }
  const found = await net.links.get(link.name)
  if (found?.kind === link.kind) return found
  throw new CniError(cniCode.internal, `overlay: ${link.name} cannot be made: another link has its name or number`)
}

const destinations = async (net: Netlink, index: number): Promise<string[]> =>
  (await net.bridge.forwarding(index)).flatMap(({ mac, destination }) =>
    mac === unknownMac && destination !== undefined ? [destination] : [],
  )

/** What bridge is asked: to join a pod to the bridge of the overlay. */
const bridgeConfig = (config: RequestConfig, overlay: Overlay): RequestConfig => ({
  ...config,
  type: 'bridge',
  bridge: namesOf(overlay).bridge,
})

export const overlay = definePlugin({
  name: 'overlay',
  config: schema,
  async add({ config, request }, host, signal) {
    const mtu = await ensureOverlay(config, host)
    const asked = { ...bridgeConfig(request.config, config), mtu }
    return host.plugin('bridge').add({ ...request, config: asked }, host, signal)
  },
  async del({ config, request }, host, signal) {
    await host.plugin('bridge').del({ ...request, config: bridgeConfig(request.config, config) }, host, signal)
  },
  async check({ config, request }, host, signal) {
    await host.plugin('bridge').check({ ...request, config: bridgeConfig(request.config, config) }, host, signal)
    const { vxlan } = namesOf(config)
    using net = openNetlink({ netns: host.netns })
    const link = await net.links.get(vxlan)
    if (!link?.up) throw new CniError(cniCode.internal, `overlay: ${vxlan} is ${link ? 'down' : 'not there'}`)
    const known = await destinations(net, link.index)
    const missing = config.nodes.find((node) => !known.includes(node))
    if (missing !== undefined) throw new CniError(cniCode.internal, `overlay: ${vxlan} does not lead to ${missing}`)
  },
  async gc({ config, request, valid }, host, signal) {
    await host.plugin('bridge').gc(bridgeConfig(request, config), valid, host, signal)
  },
  async status({ config, request }, host, signal) {
    using net = openNetlink({ netns: host.netns })
    await linkOf(net, config.local)
    await host.plugin('bridge').status(bridgeConfig(request, config), host, signal)
  },
})

if (import.meta.main) await runExecutable(overlay)
