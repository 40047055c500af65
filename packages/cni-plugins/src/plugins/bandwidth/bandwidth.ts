// bandwidth: limits of what goes to a pod and what comes from it. Outgoing packets take a way round by an ifb, since a link
// holds up only what leaves by it.
import { isNamespacePinned, openNetlink } from '@nodelet/linux'
import type { Link, Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { needing, onTrial } from '../../kernel-feature.ts'
import { versionsSince } from '../../libcni/versions.ts'
import { ifbName } from '../../names.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall } from '../../sdk/define-plugin.ts'
import type { CniResult } from '../../types.ts'
import { undo } from '../../undo.ts'
import { parseBandwidth } from './config.ts'
import type { BandwidthConfig, Limit } from './config.ts'
import { hasShape, shape } from './shape.ts'

export const bandwidth: DefinedPlugin = definePlugin<BandwidthConfig>({
  name: 'bandwidth',
  versions: versionsSince('0.3.0'),
  config: parseBandwidth,
  async add(call, host) {
    const { config, prevResult } = call
    if (!prevResult) throw new CniError(cniCode.badConfig, 'must be called as chained plugin')
    if (!config.ingress && !config.egress) return prevResult
    using outside = openNetlink({ netns: host.netns })
    const port = await portOf(call, outside)
    const undone: Undone = []
    try {
      if (config.ingress) await limitIngress(outside, port, config.ingress, undone)
      if (!config.egress) return prevResult
      const ifb = await limitEgress(outside, ownIfb(call), port, config.egress, undone)
      return { ...prevResult, interfaces: [...prevResult.interfaces, ifb] }
    } catch (error) {
      await undo(host, ...undone.toReversed())
      throw error
    }
  },

  async del(call, host) {
    using outside = openNetlink({ netns: host.netns })
    await endLimits(call, outside)
    await outside.links.delete(ownIfb(call).name)
  },

  async check(call, host) {
    const { ingress, egress } = call.config
    if (!ingress && !egress) return
    using outside = openNetlink({ netns: host.netns })
    const { qdiscs, links } = outside
    const port = await portOf(call, outside)
    if (ingress && !hasShape(await qdiscs.list(port.index), ingress))
      throw wrong(`${port.name} has another limit or none`)
    if (!egress) return
    const { name } = ownIfb(call)
    const ifb = await links.get(name)
    if (ifb?.kind !== 'ifb' || !ifb.up) throw wrong(`${name} is not there, down, or no ifb`)
    if (!hasShape(await qdiscs.list(ifb.index), egress)) throw wrong(`${name} has another limit or none`)
    const redirects = await qdiscs.redirects(port.index)
    if (!redirects.some(({ to }) => to === ifb.index)) throw wrong(`${port.name} does not hand its packets to ${name}`)
  },

  async gc({ networkName, valid }, host) {
    using outside = openNetlink({ netns: host.netns })
    const kept = new Set(valid.map(({ containerId }) => ifbName(networkName, containerId)))
    for (const { name, alias } of await outside.links.list({ kind: 'ifb' })) {
      if (alias?.startsWith(aliasOf(networkName)) && !kept.has(name)) await outside.links.delete(name)
    }
  },

  async status() {
    knowsAll ??= tryAll()
    try {
      await knowsAll
    } catch (error) {
      knowsAll = undefined
      throw error
    }
  },
})

/** Steps that take back what was done. */
type Undone = (() => Promise<unknown>)[]

const ownIfb = ({ networkName, network: { containerId } }: PluginCall<unknown>): { name: string; alias: string } => ({
  name: ifbName(networkName, containerId),
  alias: aliasOf(networkName, containerId).slice(0, longestAlias),
})
const longestAlias = 255
/** How an ifb tells which network it is of: its name does not. */
const aliasOf = (network: string, containerId = ''): string => `CNI network ${JSON.stringify(network)} ${containerId}`
const wrong = (message: string): CniError => new CniError(cniCode.internal, `bandwidth: ${message}`)

/** The machine's end of the pod's link; undefined when there is none. */
async function hostEnd(
  { network: { netns, ifName } }: PluginCall<unknown>,
  outside: Netlink,
): Promise<Link | undefined> {
  using inside = openNetlink({ netns })
  const pod = await inside.links.get(ifName)
  const end = pod?.kind === 'veth' && pod.peer !== undefined ? await outside.links.get(pod.peer) : undefined
  return end?.kind === 'veth' && end.peer === pod?.index ? end : undefined
}

async function portOf(call: PluginCall<unknown>, outside: Netlink): Promise<Link> {
  const port = await hostEnd(call, outside)
  if (!port) throw wrong(`${call.network.ifName} has no other end on this machine`)
  return port
}

/** For a link that stays: with the link its limits go. */
async function endLimits(call: PluginCall<BandwidthConfig>, outside: Netlink): Promise<void> {
  const { config, namespaceGoes, network } = call
  const port = namespaceGoes || !isNamespacePinned(network.netns) ? undefined : await hostEnd(call, outside)
  if (!port) return
  for (const { kind, parent } of await outside.qdiscs.list(port.index)) {
    if (config.ingress && kind === 'tbf' && parent === 'root') await outside.qdiscs.delete(port.index, 'root')
    if (config.egress && kind === 'ingress') await outside.qdiscs.delete(port.index, 'ingress')
  }
}

type Port = Pick<Link, 'index' | 'mtu' | 'txQueueLength'>

async function limitIngress({ qdiscs }: Netlink, { index }: Port, limit: Limit, undone: Undone): Promise<void> {
  await needing('tbf', qdiscs.add(index, shape(limit)))
  undone.push(async () => qdiscs.delete(index, 'root'))
}

async function limitEgress(
  { links, qdiscs }: Netlink,
  { name, alias }: { name: string; alias: string },
  { index: port, mtu, txQueueLength }: Port,
  limit: Limit,
  undone: Undone,
): Promise<CniResult['interfaces'][number]> {
  const { index, mac } = await needing('ifb', links.add({ kind: 'ifb', name, up: true, mtu, txQueueLength }))
  undone.push(async () => links.delete(index))
  await links.set(index, { alias })
  await needing('tbf', qdiscs.add(index, shape(limit)))
  await needing('ingress', qdiscs.add(port, { kind: 'ingress' }))
  undone.push(async () => qdiscs.delete(port, 'ingress'))
  await needing('redirect', qdiscs.addRedirect(port, { to: index }))
  return { name, ...(mac !== undefined && { mac }) }
}

/** What a kernel knows once it goes on knowing. */
let knowsAll: Promise<void> | undefined

const tryAll = async (): Promise<void> =>
  onTrial(async (netlink) => {
    const { index } = await needing('ifb', netlink.links.add({ kind: 'ifb', name: 'port' }))
    const port = { index, mtu: 1500, txQueueLength: 0 }
    await limitEgress(netlink, { name: 'trial', alias: '' }, port, { rate: 8_000_000, burst: 800_000 }, [])
  })
