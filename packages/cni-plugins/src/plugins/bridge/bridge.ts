// bridge: a pair of links between the pod and a bridge of this machine.
import { LinuxError, openNetlink } from '@nodelet/linux'
import type { Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { familyOf } from '../../families.ts'
import { configure } from '../../interface/configure.ts'
import { byIpam, checkLease, lease, release } from '../../interface/ipam.ts'
import { randomMac, wantedMac } from '../../interface/mac.ts'
import { letGo } from '../../interface/let-go.ts'
import { endMasquerade, endStaleMasquerade, masquerade, requireMasquerade } from '../../interface/masquerade.ts'
import { endVeth, makeVeth } from '../../interface/veth.ts'
import type { LinkEnd } from '../../interface/veth.ts'
import { requireRuleProgram } from '../../rule-program.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall } from '../../sdk/define-plugin.ts'
import { setSysctl } from '../../sysctl.ts'
import type { CniResult, Host } from '../../types.ts'
import { undo } from '../../undo.ts'
import { checkBridge } from './check.ts'
import { parseBridge } from './config.ts'
import type { BridgeConfig } from './config.ts'
import { ensureVlanGateway, makeGateway, withGateways } from './gateway.ts'
import { checkSpoofing, endSpoofCheck } from './spoof-check.ts'
import { hasVlans, setVlans, withVlans } from './vlans.ts'

/** The pod's end among the interfaces of the result. */
const podInterface = 2
/** How long the links may take until they carry traffic, in milliseconds. */
const linkPatienceMs = 3_000

export const bridge: DefinedPlugin = definePlugin<BridgeConfig>({
  name: 'bridge',
  config: parseBridge,
  async add(call, host, signal) {
    const { config, network, request } = call
    using outside = openNetlink({ netns: host.netns })
    using inside = openNetlink({ netns: network.netns })
    const mac = wantedMac('bridge', request)
    const master = await ensureBridge(outside, host, config)
    const port = await makeVeth(outside, network, { mtu: config.mtu, master, mac })
    let owesAddress = false
    try {
      await setUpPort(outside, host, port, config)
      const links = await linksOf(call, outside, inside, master, port)
      if (config.macspoofchk) checkSpoofing(call, host, port, links.pod.mac ?? '')
      let result = resultOf(call, links, undefined)
      if (config.ipam) {
        await inside.links.set('lo', { up: true })
        owesAddress = true
        result = resultOf(call, links, withGateways(await lease(call, host, signal), config))
        result = await joinNetwork(call, host, { outside, inside, ...links }, result, signal)
      } else if (!config.disableContainerInterface) {
        await inside.links.set(links.pod.index, { up: true })
      }
      if (!config.disableContainerInterface) {
        const patience = AbortSignal.any([signal, AbortSignal.timeout(linkPatienceMs)])
        await outside.links.untilOperational(port.index, patience)
      }
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
    if (call.config.macspoofchk) endSpoofCheck(call, host)
    await letGo(call, host, signal, async () => endVeth(call, host))
  },

  async check(call, host, signal) {
    await checkLease(call, host, signal)
    await checkBridge(call, host)
  },

  async gc(call, host, signal) {
    if (call.config.ipMasq) endStaleMasquerade(call, host)
    await byIpam.gc(call, host, signal)
  },

  async status(call, host, signal) {
    const { ipMasq, macspoofchk } = call.config
    if (ipMasq) requireMasquerade(call)
    if (macspoofchk) requireRuleProgram('nftables')
    await byIpam.status(call, host, signal)
  },
})

/** Returns the bridge's index. */
async function ensureBridge(outside: Netlink, host: Host, config: BridgeConfig): Promise<number> {
  const { bridge: name, mtu, promiscMode } = config
  const isFiltering = hasVlans(config)
  let found = await outside.links.get(name)
  if (!found) {
    const details = { kind: 'bridge' as const, ...(isFiltering && { vlanFiltering: true }) }
    // With a MAC of its own from the start it never takes that of a port.
    const settings = { name, mac: randomMac(), ...(mtu && { mtu }) }
    try {
      await withVlans(async () => outside.links.add({ ...details, ...settings }))
    } catch (error) {
      // Another pod was quicker.
      if (!(error instanceof LinuxError && error.code === 'EEXIST')) throw error
    }
    found = await outside.links.get(name)
  }
  if (found?.kind !== 'bridge') throw new CniError(cniCode.internal, `${name} already exists but is not a bridge`)
  setSysctl(host.netns, `net/ipv6/conf/${name}/accept_ra`, '0')
  if (promiscMode && !found.promiscuous) await outside.links.set(found.index, { promiscuous: true })
  if (!found.up) await outside.links.set(found.index, { up: true })
  return found.index
}

/** Nothing comes in by it before the pod's end is up. */
async function setUpPort(outside: Netlink, host: Host, { name, index }: LinkEnd, config: BridgeConfig): Promise<void> {
  const { hairpinMode, portIsolation } = config
  if (hairpinMode || portIsolation) {
    await outside.bridge.setPort(index, { hairpin: hairpinMode, isolated: portIsolation })
  }
  await setVlans(outside, index, config)
  setSysctl(host.netns, `net/ipv6/conf/${name}/accept_ra`, '0')
}

/** What takes addresses: gives the pod its own, the machine the gateway's. Returns the result with the VLAN's gateway. */
async function joinNetwork(
  call: PluginCall<BridgeConfig>,
  host: Host,
  { outside, inside, bridge: own, pod }: PodLinks & { outside: Netlink; inside: Netlink },
  result: CniResult,
  signal: AbortSignal,
): Promise<CniResult> {
  const { config, network } = call
  const { netns, ifName } = network
  setSysctl(netns, `net/ipv4/conf/${ifName}/arp_notify`, '1')
  if (config.enabledad) setSysctl(netns, `net/ipv6/conf/${ifName}/enhanced_dad`, '1')
  setSysctl(netns, `net/ipv6/conf/${ifName}/accept_dad`, config.enabledad ? '1' : '0')
  await configure(inside, { netns, ...pod, at: podInterface }, result, signal)
  const interfaces = [...result.interfaces]
  if (config.isGateway) {
    const gateway = config.vlan > 0 ? await ensureVlanGateway(outside, host, own, config) : own
    if (gateway !== own) interfaces.push(named(gateway))
    await makeGateway(outside, host, gateway, result, config)
  }
  if (config.ipMasq) masquerade(call, result, host)
  return { ...result, interfaces }
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
  return {
    cniVersion,
    interfaces: [named(own), named(host), { ...named(pod), sandbox: netns }],
    ips: (leased?.ips ?? []).map((ip) => ({ ...ip, interface: podInterface })),
    routes,
    dns: config.dns ?? leased?.dns ?? {},
  }
}

const named = ({ name, mac }: LinkEnd): CniResult['interfaces'][number] => ({ name, ...(mac && { mac }) })
