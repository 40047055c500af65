// bridge: a pair of links between the pod and a bridge of this machine.
import { LinuxError, openNetlink } from '@nodelet/linux'
import type { Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { familyOf } from '../../families.ts'
import { configure } from '../../interface/configure.ts'
import { byIpam, checkLease, lease, release } from '../../interface/ipam.ts'
import { endMasquerade, masquerade } from '../../interface/masquerade.ts'
import { endVeth, makeVeth } from '../../interface/veth.ts'
import type { LinkEnd } from '../../interface/veth.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall } from '../../sdk/define-plugin.ts'
import { setSysctl } from '../../sysctl.ts'
import type { CniResult, Host } from '../../types.ts'
import { undo } from '../../undo.ts'
import { checkBridge } from './check.ts'
import { parseBridge } from './config.ts'
import type { BridgeConfig } from './config.ts'
import { makeGateway, withGateways } from './gateway.ts'

/** The pod's end among the interfaces of the result. */
const podInterface = 2
/** How long the links may take until they carry traffic, in milliseconds. */
const linkPatienceMs = 3_000

export const bridge: DefinedPlugin = definePlugin<BridgeConfig>({
  name: 'bridge',
  config: parseBridge,
  async add(call, host, signal) {
    const { config, network } = call
    const { netns, ifName } = network
    using outside = openNetlink({ netns: host.netns })
    using inside = openNetlink({ netns })
    const master = await ensureBridge(outside, host, config)
    const port = await makeVeth(outside, network, { mtu: config.mtu, master })
    let owesAddress = false
    try {
      if (config.hairpinMode) await outside.bridge.setPort(port.index, { hairpin: true })
      // Nothing comes in before the pod's end is up.
      setSysctl(host.netns, `net/ipv6/conf/${port.name}/accept_ra`, '0')
      if (!config.ipam) {
        await inside.links.set(ifName, { up: true })
        return resultOf(call, await linksOf(call, outside, inside, master, port), undefined)
      }
      await inside.links.set('lo', { up: true })
      const links = await linksOf(call, outside, inside, master, port)
      owesAddress = true
      const leased = withGateways(await lease(call, host, signal), config)
      const result = resultOf(call, links, leased)
      setSysctl(netns, `net/ipv4/conf/${ifName}/arp_notify`, '1')
      setSysctl(netns, `net/ipv6/conf/${ifName}/accept_dad`, '0')
      await configure(inside, { netns, ...links.pod, at: podInterface }, result, signal)
      if (config.isGateway) await makeGateway(outside, host, links.bridge, result)
      if (config.ipMasq) masquerade(call, result, host)
      await outside.links.untilOperational(port.index, AbortSignal.any([signal, AbortSignal.timeout(linkPatienceMs)]))
      return result
    } catch (error) {
      // Last the address: another pod may get it at once.
      await undo(
        host,
        async () => outside.links.delete(port.index),
        async () => owesAddress && release(call, host, signal),
      )
      throw error
    }
  },

  async del(call, host, signal) {
    if (call.config.ipMasq) endMasquerade(call, host)
    const [rules, gone] = await Promise.allSettled([host.settleRules(signal), endVeth(call, host)])
    for (const done of [rules, gone]) if (done.status === 'rejected') throw done.reason
    await release(call, host, signal)
  },

  async check(call, host, signal) {
    await checkLease(call, host, signal)
    await checkBridge(call, host)
  },
  ...byIpam,
})

/** Returns the bridge's index. */
async function ensureBridge(outside: Netlink, host: Host, { bridge: name, mtu }: BridgeConfig): Promise<number> {
  let found = await outside.links.get(name)
  if (!found) {
    try {
      await outside.links.add({ kind: 'bridge', name, ...(mtu && { mtu }) })
    } catch (error) {
      // Another pod was quicker.
      if (!(error instanceof LinuxError && error.code === 'EEXIST')) throw error
    }
    found = await outside.links.get(name)
  }
  if (found?.kind !== 'bridge') throw new CniError(cniCode.internal, `${name} already exists but is not a bridge`)
  setSysctl(host.netns, `net/ipv6/conf/${name}/accept_ra`, '0')
  if (!found.up) await outside.links.set(found.index, { up: true })
  return found.index
}

interface PodLinks {
  bridge: LinkEnd
  host: LinkEnd
  pod: LinkEnd
}

/** Read late: a bridge without a MAC of its own takes that of a port. */
async function linksOf(
  { network: { ifName } }: PluginCall<BridgeConfig>,
  outside: Netlink,
  inside: Netlink,
  master: number,
  host: LinkEnd,
): Promise<PodLinks> {
  const [bridge, pod] = [await outside.links.get(master), await inside.links.get(ifName)]
  if (!bridge || !pod) throw new CniError(cniCode.internal, `${bridge ? ifName : 'the bridge'} is gone`)
  return { bridge, host, pod }
}

function resultOf(
  { network: { netns }, config, cniVersion }: PluginCall<BridgeConfig>,
  { bridge: own, host, pod }: PodLinks,
  leased: CniResult | undefined,
): CniResult {
  const routes = [...(leased?.routes ?? [])]
  if (config.isDefaultGateway) {
    for (const { address, gateway } of leased?.ips ?? []) {
      const dst = familyOf(address) === 4 ? '0.0.0.0/0' : '::/0'
      if (gateway !== undefined && !routes.some((route) => route.dst === dst && route.gw))
        routes.push({ dst, gw: gateway })
    }
  }
  const named = ({ name, mac }: LinkEnd): CniResult['interfaces'][number] => ({ name, ...(mac && { mac }) })
  return {
    cniVersion,
    interfaces: [named(own), named(host), { ...named(pod), sandbox: netns }],
    ips: (leased?.ips ?? []).map((ip) => ({ ...ip, interface: podInterface })),
    routes,
    dns: config.dns ?? leased?.dns ?? {},
  }
}
