// bridge: a pair of links between the pod and a bridge of this machine.
import { addressText, isNamespacePinned, LinuxError, openNetlink, parsePrefix } from '@nodelet/linux'
import type { Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { familiesOf, familyOf } from '../../families.ts'
import { removeChains } from '../../iptables.ts'
import { masqueradeChain, vethName } from '../../names.ts'
import { setSysctl } from '../../sysctl.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall } from '../../sdk/define-plugin.ts'
import type { CniResult, Host } from '../../types.ts'
import { checkBridge } from './check.ts'
import { parseBridge } from './config.ts'
import type { BridgeConfig } from './config.ts'
import { masqueradeRemoval, masqueradeRules } from './masquerade.ts'
import { undo } from '../../undo.ts'

/** How often another name is tried when the random one is taken. */
const nameTries = 10
/** How long the links may take until they carry traffic, in milliseconds. */
const linkPatienceMs = 3_000

export const bridge: DefinedPlugin = definePlugin({
  name: 'bridge',
  config: parseBridge,
  async add(call, host, signal) {
    const { config, networkName } = call
    const { netns, ifName, containerId } = call.network
    using outside = openNetlink({ netns: host.netns })
    using inside = openNetlink({ netns })
    const master = await ensureBridge(outside, host, config)
    const port = await makeVeth(outside, config, call, master)
    const veth = port.name
    let owesAddress = false
    try {
      if (config.hairpinMode) await outside.bridge.setPort(port.index, { hairpin: true })
      // Nothing comes in before the pod's end is up.
      setSysctl(host.netns, `net/ipv6/conf/${veth}/accept_ra`, '0')
      await inside.links.set(ifName, { up: true })
      if (config.ipam) await inside.links.set('lo', { up: true })
      const links = await linksOf(call, outside, inside, master, port)
      if (!config.ipam) return resultOf(call, links, undefined)
      owesAddress = true
      const leased = withGateways(await host.plugin(config.ipam.type).add(call.request, host, signal), config)
      if (leased.ips.length === 0) throw new CniError(cniCode.internal, 'IPAM plugin returned missing IP config')
      const result = resultOf(call, links, leased)
      await configure(inside, netns, links.pod, result)
      if (config.isGateway) await makeGateway(outside, host, links.bridge, result)
      if (config.ipMasq) {
        for (const family of familiesOf(result.ips) ?? []) {
          const lines = masqueradeRules(networkName, containerId, result.ips, family)
          host.changeRules(family, { lines, from: () => lines })
        }
      }
      await outside.links.untilOperational(port.index, AbortSignal.any([signal, AbortSignal.timeout(linkPatienceMs)]))
      return result
    } catch (error) {
      // Last the address: another pod may get it at once.
      const { ipam } = config
      const release = async (): Promise<void> => {
        if (owesAddress && ipam) await host.plugin(ipam.type).del(call.request, host, signal)
      }
      await undo(host, async () => outside.links.delete(veth), release)
      throw error
    }
  },

  async del(call, host, signal) {
    const { config, networkName: name, network, prevResult } = call
    const { containerId } = network
    if (config.ipMasq) {
      removeChains(host, [masqueradeChain(name, containerId)], familiesOf(prevResult?.ips), (family) =>
        masqueradeRemoval(name, containerId, prevResult?.ips ?? [], family),
      )
    }
    const links = endLinks(call, host)
    const [rules, gone] = await Promise.allSettled([host.settleRules(signal), links])
    for (const done of [rules, gone]) if (done.status === 'rejected') throw done.reason
    // Last: another pod may get the address at once.
    if (config.ipam) await host.plugin(config.ipam.type).del(call.request, host, signal)
  },

  async check(call, host, signal) {
    const { ipam } = call.config
    if (ipam) await host.plugin(ipam.type).check(call.request, host, signal)
    await checkBridge(call, host)
  },

  async gc({ config: { ipam }, valid, request }, host, signal) {
    if (ipam) await host.plugin(ipam.type).gc(request, valid, host, signal)
  },

  async status({ config: { ipam }, request }, host, signal) {
    if (ipam) await host.plugin(ipam.type).status(request, host, signal)
  },
})

/** A link takes the kernel some 20 ms to delete: where the namespace goes anyway, the host's end only goes down. */
async function endLinks(
  { network: { netns, ifName }, prevResult, namespaceGoes }: PluginCall<BridgeConfig>,
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

/** With isGateway the first address of the subnet is the gateway where IPAM names none. */
function withGateways(leased: CniResult, { isGateway }: BridgeConfig): CniResult {
  if (!isGateway) return leased
  const ips = leased.ips.map((ip) => ({ ...ip, gateway: ip.gateway ?? firstAddress(ip.address) }))
  return { ...leased, ips }
}

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

interface Port {
  name: string
  index: number
  mac?: string
}

/** The machine's end is up and in the bridge, the pod's end is in its namespace. */
async function makeVeth(
  outside: Netlink,
  { mtu }: BridgeConfig,
  { network: { netns, ifName } }: PluginCall<BridgeConfig>,
  master: number,
): Promise<Port> {
  const size = mtu ? { mtu } : {}
  for (let tries = 1; ; tries += 1) {
    const name = vethName()
    try {
      const peer = { name: ifName, netns, ...size }
      const born = await outside.links.add({ kind: 'veth', name, up: true, master, ...size, peer })
      return { name, ...born }
    } catch (error) {
      const isTaken = error instanceof LinuxError && error.code === 'EEXIST'
      if (isTaken && tries < nameTries && (await outside.links.get(name))) continue
      throw isTaken
        ? new CniError(cniCode.internal, `container veth name ("${ifName}") already exists`, { cause: error })
        : error
    }
  }
}

interface PodLinks {
  bridge: Port
  host: Port
  pod: Port
}

/** Read late: a bridge without a MAC of its own takes that of a port. */
async function linksOf(
  { network: { ifName } }: PluginCall<BridgeConfig>,
  outside: Netlink,
  inside: Netlink,
  master: number,
  host: Port,
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
  const podInterface = 2
  const routes = [...(leased?.routes ?? [])]
  if (config.isDefaultGateway) {
    for (const { address, gateway } of leased?.ips ?? []) {
      const dst = familyOf(address) === 4 ? '0.0.0.0/0' : '::/0'
      if (gateway !== undefined && !routes.some((route) => route.dst === dst && route.gw))
        routes.push({ dst, gw: gateway })
    }
  }
  const named = ({ name, mac }: Port): CniResult['interfaces'][number] => ({ name, ...(mac && { mac }) })
  return {
    cniVersion,
    interfaces: [named(own), named(host), { ...named(pod), sandbox: netns }],
    ips: (leased?.ips ?? []).map((ip) => ({ ...ip, interface: podInterface })),
    routes,
    dns: config.dns ?? leased?.dns ?? {},
  }
}

/** Addresses and routes of the pod's end. */
async function configure(
  inside: Netlink,
  netns: string,
  { name: ifName, index }: Port,
  { ips, routes }: CniResult,
): Promise<void> {
  setSysctl(netns, `net/ipv4/conf/${ifName}/arp_notify`, '1')
  if (ips.some(({ address }) => familyOf(address) === 6)) {
    for (const name of ['lo', ifName]) setSysctl(netns, `net/ipv6/conf/${name}/disable_ipv6`, '0')
    setSysctl(netns, `net/ipv6/conf/${ifName}/accept_dad`, '0')
    setSysctl(netns, `net/ipv6/conf/${ifName}/keep_addr_on_down`, '1')
  }
  for (const { address } of ips) await inside.addresses.add(index, address)
  for (const { dst, gw } of routes) {
    const gateway = gw ?? ips.find(({ address }) => familyOf(address) === familyOf(dst))?.gateway
    await inside.routes.add({ destination: dst, ...(gateway === undefined ? { link: index } : { gateway }) })
  }
}

/** The bridge has the gateway's addresses, and this machine forwards. */
async function makeGateway(
  outside: Netlink,
  host: Host,
  { name, index, mac }: Port,
  { ips }: CniResult,
): Promise<void> {
  const present = (await outside.addresses.list({ link: index })).map(({ address }) => address)
  for (const { address, gateway } of ips) {
    if (gateway === undefined) continue
    const wanted = `${gateway}/${address.split('/')[1]}`
    const isV4 = familyOf(wanted) === 4
    setSysctl(host.netns, isV4 ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding', '1')
    if (present.includes(wanted)) continue
    const other = present.find((one) => familyOf(one) === 4)
    if (isV4 && other !== undefined) {
      throw new CniError(cniCode.internal, `"${name}" already has an IP address different from ${wanted}`, {
        details: `it is ${other}: remove it or use another bridge`,
      })
    }
    try {
      await outside.addresses.add(index, wanted)
    } catch (error) {
      if (!(error instanceof LinuxError && error.code === 'EEXIST')) throw error // another pod was quicker
    }
  }
  // Set to itself it stays, instead of following that of the newest port.
  if (mac !== undefined) await outside.links.set(index, { mac })
}

function firstAddress(prefix: string): string {
  const { bytes, length } = parsePrefix(prefix)
  const bits = bytes.length * 8
  const host = (1n << BigInt(bits - length)) - 1n
  const first = (BigInt(`0x${bytes.toString('hex')}`) & ~host) | 1n
  return addressText(Buffer.from(first.toString(16).padStart(bits / 4, '0'), 'hex'))
}
